/* Countries, hours and requirements of a rule file. */
#include <stdlib.h>
#include <strings.h>

#include "policy/rule_compile.h"

static const struct yaml_field hours_fields[] = {
    YAML_FIELD(struct policy_hours_entry, days, YAML_STRINGS, .min = 1,
               .hint = "a list of days and ranges of days such as [mon-thu, sat]"),
    YAML_FIELD(struct policy_hours_entry, from, YAML_STRINGS, .min = 1, .max = 1, .hint = "a time such as \"08:00\""),
    YAML_FIELD(struct policy_hours_entry, to, YAML_STRINGS, .min = 1, .max = 1, .hint = "a time such as \"18:00\""),
    YAML_FIELD(struct policy_hours_entry, zone, YAML_STRINGS, .required = true, .min = 1, .max = 1,
               .hint = "a time zone such as Europe/Berlin"),
    {0}};
const struct yaml_type policy_hours_type = {sizeof(struct policy_hours_entry), hours_fields,
                                            offsetof(struct policy_hours_entry, mark)};

enum err_code policy_compile_countries(const struct policy_compiler *compiler, const struct yaml_strings *texts,
                                       struct policy_rule *rule)
{
	if (texts->n == 0)
		return ERR_OK;
	rule->countries = xcalloc(1, sizeof *rule->countries);
	for (size_t i = 0; i < texts->n; i++) {
		const char *code = texts->items[i];
		char meant[3];
		if (policy_country_is_known(code))
			policy_country_add(rule->countries, code);
		else if (policy_country_suggest(code, meant))
			return policy_compile_fail(compiler, texts->marks[i], "\"%.40s\" is no country code; did you mean \"%s\"?",
			                           code, meant);
		else
			return policy_compile_fail(compiler, texts->marks[i],
			                           "\"%.40s\" is no country code: it must be two capital letters of ISO 3166-1, "
			                           "such as US, GB or NL",
			                           code);
	}
	return ERR_OK;
}

/* The name as it is, in other letters, or the place of an area: "Europe/Berlin" for "berlin". */
static const char *similar_zone(const char *text, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcasecmp(names[i], text) == 0)
			return names[i];
	for (size_t i = 0; i < n; i++) {
		const char *place = strrchr(names[i], '/');
		if (place && strcasecmp(place + 1, text) == 0)
			return names[i];
	}
	return yaml_nearest(span_str(text), names, n);
}

static enum err_code fail_zone(const struct policy_compiler *compiler, const struct policy_hours_entry *entry)
{
	const char *names[1024];
	size_t n = 0;
	autobuf struct buf list = {0};
	policy_hours_list_zones(&list);
	char *rest = (char *)buf_cstr(&list);
	for (char *line; n < sizeof names / sizeof names[0] && (line = strsep(&rest, "\n"));)
		if (*line)
			names[n++] = line;
	const char *zone = entry->zone.items[0], *meant = similar_zone(zone, names, n);
	if (meant)
		return policy_compile_fail(compiler, entry->zone.marks[0], "\"%.40s\" is no time zone; did you mean \"%s\"?",
		                           zone, meant);
	return policy_compile_fail(compiler, entry->zone.marks[0],
	                           "\"%.40s\" is no time zone: it must be a name of the system's time zone database, such "
	                           "as Europe/Berlin or UTC",
	                           zone);
}

static enum err_code compile_time(const struct policy_compiler *compiler, const char *key,
                                  const struct yaml_strings *text, unsigned *ret)
{
	if (policy_hours_parse_time(text->items[0], ret))
		return ERR_OK;
	return policy_compile_fail(compiler, text->marks[0],
	                           "\"%s\" must be a time from \"00:00\" to \"24:00\", such as \"08:00\", not \"%.40s\"",
	                           key, text->items[0]);
}

static enum err_code compile_times(const struct policy_compiler *compiler, const struct policy_hours_entry *entry,
                                   struct policy_hours_options *options)
{
	if (entry->from.n == 0 && entry->to.n == 0)
		return ERR_OK;
	if (entry->from.n == 0 || entry->to.n == 0)
		return policy_compile_fail(compiler, entry->mark,
		                           "`hours` has only one of `from` and `to`; without both it is the whole day");
	enum err_code code = compile_time(compiler, "from", &entry->from, &options->from);
	if (code == ERR_OK)
		code = compile_time(compiler, "to", &entry->to, &options->to);
	if (code != ERR_OK)
		return code;
	if (options->from == POLICY_DAY_MINUTES)
		return policy_compile_fail(compiler, entry->from.marks[0],
		                           "a day does not start at \"24:00\"; write \"00:00\"");
	if (options->from == options->to)
		return policy_compile_fail(compiler, entry->to.marks[0],
		                           "`from` and `to` are the same; leave both out for the whole day");
	return ERR_OK;
}

enum err_code policy_compile_hours(const struct policy_compiler *compiler, const struct policy_hours_entry *entry,
                                   struct policy_rule *rule)
{
	if (!entry->mark.line)
		return ERR_OK;
	struct policy_hours_options options = {.zone = entry->zone.items[0]};
	for (size_t i = 0; i < entry->days.n; i++)
		if (!policy_hours_parse_days(entry->days.items[i], &options.days))
			return policy_compile_fail(compiler, entry->days.marks[i],
			                           "\"%.40s\" is neither a day nor a range of days: days are mon, tue, wed, thu, "
			                           "fri, sat, sun, a range is mon-fri",
			                           entry->days.items[i]);
	enum err_code code = compile_times(compiler, entry, &options);
	if (code != ERR_OK)
		return code;
	rule->hours = policy_hours_new(&options);
	return rule->hours ? ERR_OK : fail_zone(compiler, entry);
}

enum err_code policy_compile_require(const struct policy_compiler *compiler, const struct yaml_strings *texts,
                                     struct policy_rule *rule)
{
	if (texts->n && !rule->allow)
		return policy_compile_fail(
		    compiler, texts->marks[0],
		    "a deny rule cannot `require`: it would deny only those who have it; put it into the "
		    "rules that allow");
	for (size_t i = 0; i < texts->n; i++) {
		if (strcmp(texts->items[i], "consent") == 0)
			rule->require |= 1u << POLICY_CONSENT;
		else if (strcmp(texts->items[i], "purpose") == 0)
			rule->require |= 1u << POLICY_PURPOSE;
		else if (strcmp(texts->items[i], "id_token") == 0)
			rule->require |= 1u << POLICY_ID_TOKEN;
		else
			return policy_compile_fail(compiler, texts->marks[i],
			                           "what can be required is consent, purpose and id_token, not \"%.40s\"",
			                           texts->items[i]);
	}
	return ERR_OK;
}
