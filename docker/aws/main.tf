# The same resources as gatekeeper.cfn.yaml, and the CloudHSM cluster, which CloudFormation cannot make. docs/AWS.md

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.0"
    }
  }
}

variable "name" {
  type    = string
  default = "gatekeeper"
}

variable "vpc_id" {
  type = string
}

variable "subnet_ids" {
  type        = list(string)
  description = "Private subnets in at least two availability zones, with a way to S3"
}

variable "package_bucket" {
  type        = string
  description = "Bucket that holds twokey.deb and the configuration below gatekeeper/"
}

variable "client_network" {
  type    = string
  default = "0.0.0.0/0"
}

variable "instance_type" {
  type    = string
  default = "c7i.large"
}

variable "gatekeepers" {
  type    = number
  default = 2
}

variable "record_years" {
  type    = number
  default = 6
}

variable "alarm_topic_arn" {
  type = string
}

data "aws_caller_identity" "this" {}
data "aws_region" "this" {}
data "aws_ssm_parameter" "image" {
  name = "/aws/service/debian/release/12/latest/amd64"
}

locals {
  suffix = "${data.aws_caller_identity.this.account_id}-${data.aws_region.this.name}"
}

# ---- what is guarded ----

resource "aws_s3_bucket" "objects" {
  bucket = "${var.name}-objects-${local.suffix}"
  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "objects" {
  bucket = aws_s3_bucket.objects.id
  rule {
    bucket_key_enabled = true
    apply_server_side_encryption_by_default {
      sse_algorithm = "aws:kms"
    }
  }
}

resource "aws_s3_bucket_public_access_block" "objects" {
  bucket                  = aws_s3_bucket.objects.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "objects" {
  bucket = aws_s3_bucket.objects.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_versioning" "objects" {
  bucket = aws_s3_bucket.objects.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "objects" {
  bucket = aws_s3_bucket.objects.id
  rule {
    id     = "cooler-then-gone"
    status = "Enabled"
    filter {}
    transition {
      days          = 30
      storage_class = "STANDARD_IA"
    }
    transition {
      days          = 120
      storage_class = "ONEZONE_IA"
    }
    expiration {
      days = 367
    }
    noncurrent_version_expiration {
      noncurrent_days = 30
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }
}

data "aws_iam_policy_document" "objects" {
  statement {
    sid       = "NobodyButTheGatekeeper"
    effect    = "Deny"
    actions   = ["s3:GetObject*", "s3:PutObject*", "s3:DeleteObject*", "s3:AbortMultipartUpload", "s3:RestoreObject"]
    resources = ["${aws_s3_bucket.objects.arn}/*"]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "ArnNotEquals"
      variable = "aws:PrincipalArn"
      values   = [aws_iam_role.gatekeeper.arn]
    }
  }
  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.objects.arn, "${aws_s3_bucket.objects.arn}/*"]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "objects" {
  bucket = aws_s3_bucket.objects.id
  policy = data.aws_iam_policy_document.objects.json
}

# ---- who may touch it ----

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "gatekeeper" {
  statement {
    actions   = ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    resources = ["${aws_s3_bucket.objects.arn}/*"]
  }
  statement {
    actions   = ["s3:ListBucket", "s3:ListBucketMultipartUploads"]
    resources = [aws_s3_bucket.objects.arn]
  }
  statement {
    actions   = ["s3:PutObject"]
    resources = ["${aws_s3_bucket.record.arn}/*"]
  }
  statement {
    actions   = ["s3:GetObject"]
    resources = ["arn:aws:s3:::${var.package_bucket}/gatekeeper/*"]
  }
  statement {
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [aws_secretsmanager_secret.pin.arn, aws_db_instance.ledger.master_user_secret[0].secret_arn]
  }
}

resource "aws_iam_role" "gatekeeper" {
  name               = "${var.name}-${data.aws_region.this.name}"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

resource "aws_iam_role_policy" "gatekeeper" {
  role   = aws_iam_role.gatekeeper.id
  policy = data.aws_iam_policy_document.gatekeeper.json
}

resource "aws_iam_instance_profile" "gatekeeper" {
  role = aws_iam_role.gatekeeper.name
}

resource "aws_secretsmanager_secret" "pin" {
  name        = "${var.name}/pin"
  description = "The CloudHSM crypto user as user:password; put in by hand"
}

# ---- keys ----

resource "aws_cloudhsm_v2_cluster" "token" {
  hsm_type   = "hsm2m.medium"
  mode       = "FIPS"
  subnet_ids = var.subnet_ids
}

resource "aws_cloudhsm_v2_hsm" "token" {
  count      = 2
  cluster_id = aws_cloudhsm_v2_cluster.token.cluster_id
  subnet_id  = var.subnet_ids[count.index]
}

# ---- the record's copy ----

resource "aws_s3_bucket" "record" {
  bucket              = "${var.name}-record-${local.suffix}"
  object_lock_enabled = true
  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_object_lock_configuration" "record" {
  bucket = aws_s3_bucket.record.id
  rule {
    default_retention {
      mode  = "COMPLIANCE"
      years = var.record_years
    }
  }
}

resource "aws_s3_bucket_public_access_block" "record" {
  bucket                  = aws_s3_bucket.record.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# ---- the shared ledger ----

resource "aws_db_subnet_group" "ledger" {
  subnet_ids = var.subnet_ids
}

resource "aws_db_parameter_group" "ledger" {
  family = "postgres16"
  parameter {
    name  = "synchronous_commit"
    value = "on"
  }
  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }
}

resource "aws_security_group" "ledger" {
  vpc_id      = var.vpc_id
  description = "PostgreSQL from the gatekeepers only"
  ingress {
    from_port       = 5432
    to_port         = 5432
    protocol        = "tcp"
    security_groups = [aws_security_group.gatekeeper.id]
  }
}

resource "aws_db_instance" "ledger" {
  identifier                  = "${var.name}-ledger"
  engine                      = "postgres"
  engine_version              = "16.10"
  instance_class              = "db.m6g.large"
  allocated_storage           = 100
  storage_type                = "gp3"
  storage_encrypted           = true
  multi_az                    = true
  db_name                     = "twokey"
  username                    = "twokey"
  manage_master_user_password = true
  db_subnet_group_name        = aws_db_subnet_group.ledger.name
  parameter_group_name        = aws_db_parameter_group.ledger.name
  vpc_security_group_ids      = [aws_security_group.ledger.id]
  backup_retention_period     = 35
  deletion_protection         = true
  publicly_accessible         = false
  final_snapshot_identifier   = "${var.name}-ledger-final"
}

# ---- the gatekeepers ----

resource "aws_security_group" "gatekeeper" {
  vpc_id      = var.vpc_id
  description = "clients to the gatekeepers"
  ingress {
    from_port   = 7402
    to_port     = 7402
    protocol    = "tcp"
    cidr_blocks = [var.client_network]
  }
  egress {
    from_port   = 0
    to_port     = 0
    protocol    = "-1"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_launch_template" "gatekeeper" {
  image_id      = data.aws_ssm_parameter.image.value
  instance_type = var.instance_type
  iam_instance_profile {
    arn = aws_iam_instance_profile.gatekeeper.arn
  }
  vpc_security_group_ids = [aws_security_group.gatekeeper.id, aws_cloudhsm_v2_cluster.token.security_group_id]
  # IMDSv2, one hop: only this machine itself gets the role's credentials.
  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      volume_size = 30
      volume_type = "gp3"
      encrypted   = true
    }
  }
  user_data = base64encode(templatefile("${path.module}/user-data.sh", {
    package_bucket = var.package_bucket
    pin            = aws_secretsmanager_secret.pin.arn
    region         = data.aws_region.this.name
  }))
}

resource "aws_autoscaling_group" "gatekeeper" {
  min_size                  = var.gatekeepers
  max_size                  = var.gatekeepers
  vpc_zone_identifier       = var.subnet_ids
  health_check_type         = "ELB"
  health_check_grace_period = 180
  target_group_arns         = [aws_lb_target_group.gatekeeper.arn]
  launch_template {
    id      = aws_launch_template.gatekeeper.id
    version = aws_launch_template.gatekeeper.latest_version
  }
  instance_refresh {
    strategy = "Rolling"
    preferences {
      min_healthy_percentage = 50
    }
  }
}

# TLS ends at the gatekeeper, whose key is in the token: so the balancer passes TCP through and keeps the client's address.
resource "aws_lb" "gatekeeper" {
  load_balancer_type = "network"
  internal           = true
  subnets            = var.subnet_ids
}

resource "aws_lb_target_group" "gatekeeper" {
  port                 = 7402
  protocol             = "TCP"
  vpc_id               = var.vpc_id
  preserve_client_ip   = true
  deregistration_delay = 60
}

resource "aws_lb_listener" "gatekeeper" {
  load_balancer_arn = aws_lb.gatekeeper.arn
  port              = 7402
  protocol          = "TCP"
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.gatekeeper.arn
  }
}

# ---- alarms ----

resource "aws_cloudwatch_metric_alarm" "no_healthy_gatekeeper" {
  alarm_name          = "${var.name}-none-healthy"
  alarm_description   = "no gatekeeper can be reached"
  namespace           = "AWS/NetworkELB"
  metric_name         = "HealthyHostCount"
  statistic           = "Minimum"
  period              = 60
  evaluation_periods  = 2
  threshold           = 1
  comparison_operator = "LessThanThreshold"
  treat_missing_data  = "breaching"
  alarm_actions       = [var.alarm_topic_arn]
  dimensions = {
    TargetGroup  = aws_lb_target_group.gatekeeper.arn_suffix
    LoadBalancer = aws_lb.gatekeeper.arn_suffix
  }
}

resource "aws_cloudwatch_metric_alarm" "ledger_full" {
  alarm_name          = "${var.name}-ledger-full"
  alarm_description   = "the ledger's disk has less than 10 GiB left; a gatekeeper that cannot record grants nothing"
  namespace           = "AWS/RDS"
  metric_name         = "FreeStorageSpace"
  statistic           = "Minimum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 10737418240
  comparison_operator = "LessThanThreshold"
  treat_missing_data  = "breaching"
  alarm_actions       = [var.alarm_topic_arn]
  dimensions = {
    DBInstanceIdentifier = aws_db_instance.ledger.identifier
  }
}

output "address" {
  value = "${aws_lb.gatekeeper.dns_name}:7402"
}

output "bucket" {
  value = aws_s3_bucket.objects.id
}

output "record_bucket" {
  value = aws_s3_bucket.record.id
}

output "ledger_host" {
  value = aws_db_instance.ledger.address
}
