#include "server/config_caller.h"

#include <stdlib.h>

#include "server/config_bucket.h"
#include "transaction/transaction.h"

#define CERTIFICATES_MAX 16
/* Roles whose calls name a transaction: only for these is there something to bound. */
#define WITH_TRANSACTIONS (CALLER_BACKEND | CALLER_READER | CALLER_ADMIN)

static const struct yaml_name role_names[] = {{"backend", CALLER_BACKEND},   {"auditor", CALLER_AUDITOR},
                                              {"operator", CALLER_OPERATOR}, {"reader", CALLER_READER},
                                              {"admin", CALLER_ADMIN},       {0}};

/* A condition in the words of rules. */
#define CONDITION(member, hint_)                                                                                       \
	{                                                                                                                  \
		.name = #member, .kind = YAML_STRINGS, .offset = offsetof(struct config_caller, texts.member), .min = 1,       \
		.hint = hint_                                                                                                  \
	}

static const struct yaml_field caller_fields[] = {
    YAML_FIELD(struct config_caller, identity, YAML_STRING, .required = true,
               .hint = "a SAN entry or the common name of a client certificate"),
    YAML_FIELD(struct config_caller, certificates, YAML_STRINGS, .min = 1, .max = CERTIFICATES_MAX,
               .hint = "a list of SAN entries, subject:NAME and sha256:FINGERPRINT"),
    YAML_FIELD(struct config_caller, roles, YAML_STRINGS, .required = true,
               .hint = "a list out of backend, auditor, operator, reader, admin"),
    CONDITION(networks, "a list of networks such as 10.0.0.0/8 or 2001:db8::/32"),
    CONDITION(operations, "a list out of GET, PUT, LIST, DELETE"),
    CONDITION(accounts, "a list of globs"),
    CONDITION(buckets, "a list of globs"),
    CONDITION(objects, "a list of globs such as \"reports/**\""),
    {.name = "hours",
     .kind = YAML_MAP,
     .offset = offsetof(struct config_caller, texts.hours),
     .item = &policy_hours_type,
     .hint = "a group such as {days: [mon-fri], from: \"08:00\", to: \"18:00\", zone: Europe/Berlin}"},
    YAML_FIELD(struct config_caller, max_lifetime, YAML_UINT, .min = 1, .max = TRANSACTION_LIFETIME_MAX_S),
    {0}};
const struct yaml_type config_caller_type = {sizeof(struct config_caller), caller_fields,
                                             offsetof(struct config_caller, mark)};

static enum err_code check_roles(const struct config *config, struct config_caller *caller, struct err *err)
{
	for (size_t i = 0; i < caller->roles.n; i++) {
		const struct yaml_name *name = role_names;
		while (name->name && strcmp(name->name, caller->roles.items[i]) != 0)
			name++;
		if (!name->name)
			return config_wrong(config, &caller->roles.marks[i], err,
			                    "roles are backend, auditor, operator, reader and admin, not ", caller->roles.items[i]);
		caller->role_bits |= (unsigned)name->value;
	}
	const bool bounded = caller->texts.operations.n || caller->texts.accounts.n || caller->texts.buckets.n ||
	                     caller->texts.objects.n || caller->max_lifetime;
	if (bounded && !(caller->role_bits & WITH_TRANSACTIONS))
		return config_wrong(config, &caller->mark, err,
		                    "operations, accounts, buckets, objects and max_lifetime bound the transactions of a "
		                    "backend, reader or admin; other roles have none: ",
		                    caller->identity);
	return ERR_OK;
}

/* As openssl prints it, with colons, or without. In small letters, without colons. */
static bool fingerprint_read(const char *text, char out[65])
{
	size_t n = 0;
	for (; *text; text++) {
		if (*text == ':')
			continue;
		const char *digit = strchr("0123456789abcdefABCDEF", *text);
		if (n == 64 || !digit)
			return false;
		out[n++] = *text >= 'A' && *text <= 'F' ? (char)(*text - 'A' + 'a') : *text;
	}
	out[n] = '\0';
	return n == 64;
}

static enum err_code check_certificates(const struct config *config, struct config_caller *caller, struct err *err)
{
	const struct yaml_strings *texts = &caller->certificates;
	caller->n_matches = texts->n ? texts->n : 1;
	caller->matches = xcalloc(caller->n_matches, sizeof *caller->matches);
	caller->matches[0] = (struct config_match){.kind = CONFIG_BY_NAME, .name = caller->identity};
	for (size_t i = 0; i < texts->n; i++) {
		struct config_match *match = &caller->matches[i];
		const char *text = texts->items[i];
		if (strncmp(text, "subject:", 8) == 0) {
			*match = (struct config_match){.kind = CONFIG_BY_SUBJECT, .name = text + 8};
		} else if (strncmp(text, "sha256:", 7) == 0) {
			match->kind = CONFIG_BY_FINGERPRINT;
			if (!fingerprint_read(text + 7, match->fingerprint))
				return config_wrong(config, &texts->marks[i], err,
				                    "sha256: is followed by the 64 hex digits of a certificate's fingerprint, not by ",
				                    text + 7);
		} else {
			*match = (struct config_match){.kind = CONFIG_BY_NAME, .name = text};
		}
	}
	return ERR_OK;
}

enum err_code config_caller_check(const struct config *config, struct config_caller *caller, struct err *err)
{
	enum err_code code = check_roles(config, caller, err);
	if (code == ERR_OK)
		code = check_certificates(config, caller, err);
	return code == ERR_OK ? policy_scope_new(config->path, &caller->texts, &caller->scope, err) : code;
}

void config_caller_done(struct config_caller *caller)
{
	policy_scope_free(caller->scope);
	free(caller->matches);
}
