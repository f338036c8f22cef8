#include "policy/rule_file.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "policy/rule_compile.h"

#define NAME_MAX_BYTES 64
#define NETWORK_HINT   "an address, or a network whose host bits are zero, such as 10.0.0.0/8 or 2001:db8::/32"

struct entry {
	char *name;
	struct yaml_mark mark;
	int allow;
	struct yaml_strings operations, buckets, objects, accounts, users, vendor_keys, networks, countries, require;
	struct policy_hours_entry hours;
	uint64_t presign;
};

static const struct yaml_name effects[] = {{"allow", true}, {"deny", false}, {0}};

#define CONDITION(member, hint_) YAML_FIELD(struct entry, member, YAML_STRINGS, .min = 1, .hint = hint_)

static const struct yaml_field entry_fields[] = {
    YAML_FIELD(struct entry, name, YAML_STRING, .required = true, .hint = "a name of its own, such as hospital-reads"),
    {.name = "effect",
     .kind = YAML_ENUM,
     .offset = offsetof(struct entry, allow),
     .required = true,
     .names = effects,
     .hint = "allow or deny"},
    CONDITION(operations, "a list out of GET, PUT, LIST, DELETE"),
    CONDITION(buckets, "a list of globs"),
    CONDITION(objects, "a list of globs such as \"reports/**\""),
    CONDITION(accounts, "a list of globs"),
    CONDITION(users, "a list of globs such as \"*@hospital.example\""),
    CONDITION(networks, "a list of networks such as 10.0.0.0/8 or 2001:db8::/32"),
    CONDITION(vendor_keys, "a list of globs over the names of vendor keys"),
    CONDITION(countries, "a list of countries such as [US, CA, GB]"),
    YAML_FIELD(struct entry, hours, YAML_MAP, .item = &policy_hours_type,
               .hint = "a group such as {days: [mon-fri], from: \"08:00\", to: \"18:00\", zone: Europe/Berlin}"),
    CONDITION(require, "a list out of consent, purpose, id_token"),
    YAML_FIELD(struct entry, presign, YAML_UINT, .min = 1, .max = 60,
               .hint = "seconds, at most 60: for so long a URL is good that gets an unsealed object"),
    {0}};
static const struct yaml_type entry_type = {sizeof(struct entry), entry_fields, offsetof(struct entry, mark)};

static const struct yaml_field file_fields[] = {
    YAML_FIELD(struct policy_file, version, YAML_UINT, .required = true, .min = 1, .max = 1,
               .hint = "1, the version of this format"),
    YAML_FIELD(struct policy_file, rules, YAML_LIST, .required = true, .item = &entry_type, .max = POLICY_RULES_MAX),
    YAML_FIELD(struct policy_file, limits, YAML_LIST, .item = &policy_limit_type),
    {0}};
const struct yaml_type policy_file_type = {.size = sizeof(struct policy_file), .fields = file_fields};

/* A condition of globs: where it is in the file's entry and in the rule. */
static const struct glob_condition {
	const char *key;
	size_t entry, rule;
	enum policy_glob_style style;
} glob_conditions[] = {
#define GLOBS(member, style)                                                                                           \
	{                                                                                                                  \
#member, offsetof(struct entry, member), offsetof(struct policy_rule, member), style                           \
	}
    GLOBS(buckets, POLICY_GLOB_FLAT), GLOBS(objects, POLICY_GLOB_PATH),     GLOBS(accounts, POLICY_GLOB_FLAT),
    GLOBS(users, POLICY_GLOB_FLAT),   GLOBS(vendor_keys, POLICY_GLOB_FLAT),
#undef GLOBS
};

enum err_code policy_compile_fail(const struct policy_compiler *compiler, struct yaml_mark mark, const char *fmt, ...)
{
	char text[sizeof compiler->err->text];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	return err_set(compiler->err, ERR_INVALID, 0, "%s:%u:%u: %s", compiler->name, mark.line, mark.column, text);
}

static enum err_code compile_name(const struct policy_compiler *compiler, const struct entry *entry,
                                  struct policy_rule *rule)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t len = strlen(entry->name);
	if (len < 1 || len > NAME_MAX_BYTES || strspn(entry->name, letters) != len)
		return policy_compile_fail(compiler, entry->mark,
		                           "a rule's name is 1 to %d of the characters A-Z a-z 0-9 . _ -", NAME_MAX_BYTES);
	if (strcmp(entry->name, POLICY_DEFAULT_RULE) == 0)
		return policy_compile_fail(compiler, entry->mark,
		                           "the name \"" POLICY_DEFAULT_RULE "\" is taken: it denies what no rule matches");
	rule->name = xstrdup(entry->name);
	return ERR_OK;
}

static enum err_code compile_operations(const struct policy_compiler *compiler, const struct entry *entry,
                                        struct policy_rule *rule)
{
	static const struct yaml_name names[] = {
	    {"GET", POLICY_GET}, {"PUT", POLICY_PUT}, {"LIST", POLICY_LIST}, {"DELETE", POLICY_DELETE}, {0}};
	for (size_t i = 0; i < entry->operations.n; i++) {
		const struct yaml_name *name = names;
		while (name->name && strcmp(name->name, entry->operations.items[i]) != 0)
			name++;
		if (!name->name)
			return policy_compile_fail(compiler, entry->operations.marks[i],
			                           "operations are GET, PUT, LIST and DELETE, not \"%.40s\"",
			                           entry->operations.items[i]);
		rule->operations |= 1u << name->value;
	}
	return ERR_OK;
}

enum err_code policy_compile_globs(const struct policy_compiler *compiler, const char *key,
                                   const struct yaml_strings *texts, enum policy_glob_style style,
                                   struct policy_globs *globs)
{
	globs->items = xcalloc(texts->n, sizeof(struct policy_glob *));
	for (; globs->n < texts->n; globs->n++) {
		const char *why = NULL;
		globs->items[globs->n] = policy_glob_new(texts->items[globs->n], style, &why);
		if (!globs->items[globs->n])
			return policy_compile_fail(compiler, texts->marks[globs->n], "\"%s\": this glob is malformed: %s", key,
			                           why);
	}
	return ERR_OK;
}

static enum err_code compile_globs(const struct policy_compiler *compiler, const struct entry *entry,
                                   const struct glob_condition *condition, struct policy_rule *rule)
{
	return policy_compile_globs(compiler, condition->key, (const void *)((const char *)entry + condition->entry),
	                            condition->style, (void *)((char *)rule + condition->rule));
}

static enum err_code compile_networks(const struct policy_compiler *compiler, const struct entry *entry,
                                      struct policy_rule *rule)
{
	const struct yaml_strings *texts = &entry->networks;
	if (texts->n == 0)
		return ERR_OK;
	struct ip_net *nets = rule->nets = xcalloc(texts->n, sizeof *nets);
	for (size_t i = 0; i < texts->n; i++)
		if (!ip_net_parse(texts->items[i], &nets[i]))
			return policy_compile_fail(compiler, texts->marks[i],
			                           "\"%.60s\" is not a network: it must be " NETWORK_HINT, texts->items[i]);
	rule->networks = policy_network_set_new(nets, texts->n);
	if (policy_network_set_is_everybody(rule->networks)) {
		/* No condition at all: nobody could be allowed or denied by coming from elsewhere. */
		policy_network_set_free(rule->networks);
		rule->networks = NULL;
	} else {
		rule->n_nets = texts->n;
	}
	return ERR_OK;
}

static enum err_code compile_conditions(const struct policy_compiler *compiler, const struct entry *entry,
                                        struct policy_rule *rule)
{
	rule->allow = entry->allow;
	enum err_code code = compile_operations(compiler, entry, rule);
	for (size_t i = 0; code == ERR_OK && i < sizeof glob_conditions / sizeof glob_conditions[0]; i++)
		code = compile_globs(compiler, entry, &glob_conditions[i], rule);
	if (code == ERR_OK)
		code = compile_networks(compiler, entry, rule);
	if (code == ERR_OK)
		code = policy_compile_countries(compiler, &entry->countries, rule);
	if (code == ERR_OK)
		code = policy_compile_hours(compiler, &entry->hours, rule);
	if (code == ERR_OK)
		code = policy_compile_require(compiler, &entry->require, rule);
	return code;
}

static enum err_code compile_rule(const struct policy_compiler *compiler, const struct entry *entry,
                                  struct policy_rule *rule)
{
	enum err_code code = compile_name(compiler, entry, rule);
	rule->presign_s = (unsigned)entry->presign;
	if (code == ERR_OK && entry->presign && !entry->allow)
		code = policy_compile_fail(compiler, entry->mark, "a rule that denies gives no URLs");
	return code == ERR_OK ? compile_conditions(compiler, entry, rule) : code;
}

enum err_code policy_compile_scope(const struct policy_compiler *compiler, const struct policy_scope_texts *texts,
                                   struct policy_rule *rule)
{
	const struct entry entry = {.allow = true,
	                            .operations = texts->operations,
	                            .buckets = texts->buckets,
	                            .objects = texts->objects,
	                            .accounts = texts->accounts,
	                            .networks = texts->networks,
	                            .hours = texts->hours};
	return compile_conditions(compiler, &entry, rule);
}

static int compare_names(const void *a_, const void *b_)
{
	const struct entry *a = *(const struct entry *const *)a_, *b = *(const struct entry *const *)b_;
	int order = strcmp(a->name, b->name);
	return order ? order : a < b ? -1 : a > b;
}

static enum err_code check_names_differ(const struct policy_compiler *compiler, const struct policy_file *file)
{
	const struct entry *entries = file->rules.items;
	autofree const struct entry **sorted = xcalloc(file->rules.n, sizeof *sorted);
	for (size_t i = 0; i < file->rules.n; i++)
		sorted[i] = &entries[i];
	qsort(sorted, file->rules.n, sizeof *sorted, compare_names);
	for (size_t i = 1; i < file->rules.n; i++)
		if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
			return policy_compile_fail(compiler, sorted[i]->mark, "there is another rule named \"%s\", in line %u",
			                           sorted[i]->name, sorted[i - 1]->mark.line);
	return ERR_OK;
}

enum err_code policy_file_compile(const char *name, const struct policy_file *file, struct policy *ret, struct err *err)
{
	const struct policy_compiler compiler = {name, err};
	const struct entry *entries = file->rules.items;
	ret->rules = xcalloc(file->rules.n, sizeof *ret->rules);
	ret->n = file->rules.n;
	for (size_t i = 0; i < ret->n; i++) {
		enum err_code code = compile_rule(&compiler, &entries[i], &ret->rules[i]);
		if (code != ERR_OK)
			return code;
	}
	enum err_code code = check_names_differ(&compiler, file);
	return code == ERR_OK ? policy_compile_limits(&compiler, &file->limits, ret) : code;
}
