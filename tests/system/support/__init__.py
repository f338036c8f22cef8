"""What the system tests are made of: tokens, certificates, deployments, clients, a bucket."""
