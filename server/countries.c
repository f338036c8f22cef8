#include "server/countries.h"

#include <stdio.h>

static void tell(struct countries_watch *watch, const char *path, const struct policy_countries_state *state,
                 const struct err *trouble)
{
	char built[CLOCK_TEXT_MAX];
	clock_format(state->built_ms, built);
	if (trouble->text[0] && strcmp(trouble->text, watch->trouble) != 0)
		log_event(LOG_WARN, "the country database cannot be read", "error", trouble->text, NULL);
	snprintf(watch->trouble, sizeof watch->trouble, "%s", trouble->text);
	if (!state->usable && !watch->told_unusable)
		log_event(LOG_ERROR, "no country is known: rules that ask for one deny", "file", path, NULL);
	watch->told_unusable = !state->usable;
	if (state->loaded)
		log_event(LOG_INFO, "country database loaded", "file", path, "built", built, NULL);
	if (state->old && !watch->told_old)
		log_event(LOG_WARN, "the country database is old: get a newer one", "file", path, "built", built, NULL);
	watch->told_old = state->old;
}

void countries_look(struct countries_watch *watch, struct deployment *deployment)
{
	if (!deployment->countries)
		return;
	struct policy_countries_state state;
	struct err err = {0};
	if (policy_countries_refresh(deployment->countries, clock_now_ms(deployment->clock), &state, &err) == ERR_OK)
		err = (struct err){0};
	tell(watch, deployment->config->countries_database, &state, &err);
}
