#include "policy/country.h"

static const char codes[] = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ "
                            "BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM "
                            "DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS "
                            "GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN "
                            "KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ "
                            "MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM "
                            "PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV "
                            "SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI "
                            "VN VU WF WS XK YE YT ZA ZM ZW";

/* What people write instead. */
static const struct {
	const char *text, *code;
} aliases[] = {
    {"UK", "GB"},      {"GBR", "GB"},       {"ENGLAND", "GB"},       {"GREAT BRITAIN", "GB"}, {"UNITED KINGDOM", "GB"},
    {"USA", "US"},     {"AMERICA", "US"},   {"UNITED STATES", "US"}, {"CAN", "CA"},           {"CANADA", "CA"},
    {"AUS", "AU"},     {"AUSTRALIA", "AU"}, {"NZL", "NZ"},           {"NEW ZEALAND", "NZ"},   {"IRL", "IE"},
    {"IRELAND", "IE"}, {"EIRE", "IE"},      {"NLD", "NL"},           {"NETHERLANDS", "NL"},   {"HOLLAND", "NL"},
    {"DEU", "DE"},     {"GERMANY", "DE"},   {"FRA", "FR"},           {"FRANCE", "FR"},        {"ESP", "ES"},
    {"SPAIN", "ES"},   {"ITA", "IT"},       {"ITALY", "IT"},         {"CHE", "CH"},           {"SWITZERLAND", "CH"},
    {"AUT", "AT"},     {"AUSTRIA", "AT"},   {"BEL", "BE"},           {"BELGIUM", "BE"},       {"EL", "GR"},
    {"GREECE", "GR"},  {"DNK", "DK"},       {"DENMARK", "DK"},       {"SWE", "SE"},           {"SWEDEN", "SE"},
    {"NOR", "NO"},     {"NORWAY", "NO"},    {"FIN", "FI"},           {"FINLAND", "FI"},       {"POL", "PL"},
    {"POLAND", "PL"},  {"PRT", "PT"},       {"PORTUGAL", "PT"},      {"JPN", "JP"},           {"JAPAN", "JP"},
};

#define ALIAS_MAX 16

static bool is_pair(const char *code)
{
	return code[0] >= 'A' && code[0] <= 'Z' && code[1] >= 'A' && code[1] <= 'Z' && !code[2];
}

/* Where the code stands in the list; NULL when it does not. */
static const char *find(const char *code)
{
	for (const char *at = codes; is_pair(code) && at < codes + sizeof codes; at += 3)
		if (memcmp(at, code, 2) == 0)
			return at;
	return NULL;
}

bool policy_country_is_known(const char *code)
{
	return find(code) != NULL;
}

static void capitals(const char *text, char out[ALIAS_MAX])
{
	size_t len = strnlen(text, ALIAS_MAX);
	if (len == ALIAS_MAX)
		len = 0;
	for (size_t i = 0; i < len; i++)
		out[i] = (char)(text[i] >= 'a' && text[i] <= 'z' ? text[i] - 'a' + 'A' : text[i]);
	out[len] = '\0';
}

bool policy_country_suggest(const char *text, char out[3])
{
	char word[ALIAS_MAX];
	capitals(text, word);
	for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++)
		if (strcmp(aliases[i].text, word) == 0)
			memcpy(word, aliases[i].code, 3);
	if (!find(word))
		return false;
	memcpy(out, word, 3);
	return true;
}

static size_t number_of(const char *code)
{
	return (size_t)((code[0] - 'A') * 26 + code[1] - 'A');
}

void policy_country_add(struct policy_country_set *set, const char *code)
{
	set->bits[number_of(code) / 64] |= (uint64_t)1 << (number_of(code) % 64);
}

bool policy_country_in(const struct policy_country_set *set, const char *code)
{
	return is_pair(code) && (set->bits[number_of(code) / 64] >> (number_of(code) % 64) & 1);
}
