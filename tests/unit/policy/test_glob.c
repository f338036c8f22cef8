#include "policy/glob.h"

#include "policy/policy.h"
#include "tests/unit/harness.h"

static const struct {
	const char *glob, *text;
	bool matches;
} matches[] = {
    {"", "", true},
    {"", "a", false},
    {"reports", "reports", true},
    {"reports", "report", false},
    {"reports", "reports/", false},
    {"Reports", "reports", false},
    /* one segment */
    {"*", "", true},
    {"*", "a.pdf", true},
    {"*", "a/b", false},
    {"a*", "a", true},
    {"*.pdf", "x.pdf", true},
    {"*.pdf", "x.pdf.exe", false},
    {"*.pdf", "dir/x.pdf", false},
    {"a*b*c", "a-b-b-c", true},
    {"a*b*c", "a-c-b", false},
    {"reports/*", "reports/a", true},
    {"reports/*", "reports/", true},
    {"reports/*", "reports/a/b", false},
    {"reports/*/x", "reports/2026/x", true},
    {"reports/*/x", "reports//x", true},
    {"reports/*/x", "reports/x", false},
    /* across segments */
    {"**", "", true},
    {"**", "a/b/c", true},
    {"***", "a/b/c", true},
    {"reports/**", "reports/", true},
    {"reports/**", "reports/a/b/c", true},
    {"reports/**", "reports", false},
    {"reports/**", "reports2/a", false},
    {"**/x", "x", true},
    {"**/x", "a/x", true},
    {"**/x", "a/b/x", true},
    {"**/x", "/x", true},
    {"**/x", "ax", false},
    {"a/**/b", "a/b", true},
    {"a/**/b", "a/x/y/b", true},
    {"a/**/b", "a//b", true},
    {"a/**/b", "ab", false},
    {"a/**/b", "a/xb", false},
    {"**/**/x", "x", true},
    {"**.pdf", "a/b.pdf", true},
    {"a**b", "a/x/b", true},
    {"a**/b", "a/b", true},
    {"a**/b", "ax/b", true},
    {"a**/b", "ab", false},
    {"**/*.pdf", "x.pdf", true},
    {"**/*.pdf", "a/b/x.pdf", true},
    {"**/*.pdf", "a/b/x.pdf/y", false},
    {"../**", "../x", true},
    {"reports/**", "reports/../secret", true}, /* keys are bytes: nothing is folded */
    {"reports/**", "./reports/a", false},
    /* one character */
    {"?", "a", true},
    {"?", "", false},
    {"?", "/", false},
    {"?", "ab", false},
    {"?", "\xc3\xa9", true},
    {"??", "\xc3\xa9", false},
    {"?x", "\xf0\x9f\x94\x91x", true},
    {"a?c",
     "a\xe2\x82\xac"
     "c",
     true},
    {"a?c", "a/c", false},
    /* classes */
    {"[a-c]x", "bx", true},
    {"[a-c]x", "dx", false},
    {"[abc]", "c", true},
    {"[!a-c]", "d", true},
    {"[^a-c]", "d", true},
    {"[!a-c]", "b", false},
    {"[!a-c]", "/", false},
    {"[!a-c]", "\xc3\xa9", true},
    {"[]]", "]", true},
    {"[!]]", "]", false},
    {"[a-]", "-", true},
    {"[-a]", "-", true},
    {"[+--]", ",", true},
    {"[\\]a]", "]", true},
    {"[a\\-c]", "b", false},
    {"[a\\-c]", "-", true},
    {"[.-0]", "/", false},
    {"[.-0]", ".", true},
    {"[*]", "*", true},
    {"[*]", "a", false},
    /* taken literally */
    {"\\*", "*", true},
    {"\\*", "a", false},
    {"\\a", "a", true},
    {"\\\\", "\\", true},
    {"\\[a]", "[a]", true},
    {"a]", "a]", true},
    {"{a,b}", "{a,b}", true},
    {"\xc3\xa9*", "\xc3\xa9t\xc3\xa9", true},
    {"e\xcc\x81", "\xc3\xa9", false}, /* no normalisation */
};

static void test_match(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof matches / sizeof matches[0]; i++)
		if (policy_glob_match(matches[i].glob, matches[i].text) != matches[i].matches)
			fail_msg("\"%s\" on \"%s\"", matches[i].glob, matches[i].text);
}

static const struct {
	const char *glob, *why;
} malformed[] = {
    {"[", "the class in brackets is never closed"},
    {"[]", "the class in brackets is never closed"},
    {"[a", "the class in brackets is never closed"},
    {"[a-", "the class in brackets is never closed"},
    {"[a-]x[", "the class in brackets is never closed"},
    {"[!]", "the class in brackets is never closed"},
    {"[a\\", "the class in brackets is never closed"},
    {"[z-a]", "a range in brackets goes backwards"},
    {"[/]", "the class in brackets can match nothing"},
    {"[\xc3\xa9]", "a class in brackets lists ASCII characters only"},
    {"a\\", "a backslash at the end stands before nothing"},
};

static void test_malformed_globs_are_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
		const char *why = NULL;
		assert_null(policy_glob_new(malformed[i].glob, POLICY_GLOB_PATH, &why));
		assert_string_equal(why, malformed[i].why);
		assert_false(policy_glob_match(malformed[i].glob, malformed[i].glob));
	}
}

static void test_length_is_limited(void **state)
{
	(void)state;
	const char *why = NULL;
	char text[POLICY_GLOB_MAX + 2];
	memset(text, '?', sizeof text);
	text[POLICY_GLOB_MAX + 1] = '\0';
	assert_null(policy_glob_new(text, POLICY_GLOB_PATH, &why));
	assert_string_equal(why, "longer than 1024 bytes");
	text[POLICY_GLOB_MAX] = '\0';
	assert_true(policy_glob_match(text, text));
	assert_false(policy_glob_match(text, text + 1));
}

static bool accepts(const char *glob, enum policy_glob_style style, const char *text)
{
	const char *why;
	struct policy_glob *compiled = policy_glob_new(glob, style, &why);
	assert_non_null(compiled);
	bool result = policy_glob_accepts(compiled, span_str(text));
	policy_glob_free(compiled);
	return result;
}

static void test_flat_globs_know_no_segments(void **state)
{
	(void)state;
	assert_true(accepts("*@x", POLICY_GLOB_FLAT, "https://idp/ann@x"));
	assert_false(accepts("*@x", POLICY_GLOB_PATH, "https://idp/ann@x"));
	assert_true(accepts("a?b", POLICY_GLOB_FLAT, "a/b"));
	assert_true(accepts("[/]", POLICY_GLOB_FLAT, "/"));
	assert_true(accepts("[!a]", POLICY_GLOB_FLAT, "/"));
	assert_true(accepts("**/x", POLICY_GLOB_FLAT, "/x"));
	assert_false(accepts("**/x", POLICY_GLOB_FLAT, "x"));
}

/* Would take longer than the test's time limit with any matcher that tries one way after another. */
static void test_stars_do_not_explode(void **state)
{
	(void)state;
	char glob[POLICY_GLOB_MAX + 1], text[1025];
	for (size_t i = 0; i + 2 < sizeof glob; i += 2) {
		glob[i] = '*';
		glob[i + 1] = 'a';
	}
	glob[POLICY_GLOB_MAX - 1] = 'b';
	glob[POLICY_GLOB_MAX] = '\0';
	memset(text, 'a', 1024);
	text[1024] = '\0';
	assert_false(policy_glob_match(glob, text));
	text[1023] = 'b';
	assert_true(policy_glob_match(glob, text));
}

static const struct {
	const char *glob, *prefix;
	bool covers, overlaps;
} prefixes[] = {
    {"**", "", true, true},
    {"**", "a/b", true, true},
    {"**/*", "", true, true},
    {"**/*", "a/b", true, true},
    {"reports/**", "reports/", true, true},
    {"reports/**", "reports/2026/", true, true},
    {"reports/**", "reports/2026/x", true, true},
    {"reports/**", "reports", false, true},
    {"reports/**", "rep", false, true},
    {"reports/**", "", false, true},
    {"reports/**", "reportz", false, false},
    {"reports/**", "x", false, false},
    {"reports/**/*", "reports/", true, true},
    {"reports/**/*", "reports/a/b", true, true},
    {"reports/*", "reports/", false, true},
    {"reports/*", "reports/a", false, true},
    {"reports/*", "reports/a/", false, false},
    {"reports/a", "reports/", false, true},
    {"reports/a", "reports/a", false, true},
    {"reports/a", "reports/a/", false, false},
    {"*/**", "", false, true},
    {"*/**", "a", false, true},
    {"*/**", "a/", true, true},
    {"*/**", "a/b/c", true, true},
    {"**.pdf", "a/", false, true},
    {"**/x/**", "a/x/", true, true},
    {"**/x/**", "a/x", false, true},
    {"**/x/**", "x/", true, true},
    {"*.pdf", "a/", false, false},
    {"*.pdf", "a.pdf", false, true},
    {"", "", false, true},
    {"", "a", false, false},
    {"a**", "a", true, true},
    {"a***", "a", true, true},
    {"[ab]/**", "b/", true, true},
    {"[ab]/**", "c/", false, false},
};

static void test_prefixes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
		const char *why;
		struct policy_glob *glob = policy_glob_new(prefixes[i].glob, POLICY_GLOB_PATH, &why);
		assert_non_null(glob);
		struct span prefix = span_str(prefixes[i].prefix);
		if (policy_glob_covers(glob, prefix) != prefixes[i].covers ||
		    policy_glob_overlaps(glob, prefix) != prefixes[i].overlaps)
			fail_msg("\"%s\" and prefix \"%s\"", prefixes[i].glob, prefixes[i].prefix);
		policy_glob_free(glob);
	}
}

/* The meaning of a glob of '*', '?', '/' and letters, written down as plainly as possible. */
static bool means(const char *glob, const char *text, bool segment_start)
{
	if (!*glob)
		return !*text;
	if (*glob != '*')
		return *text && (*glob == *text || (*glob == '?' && *text != '/')) && means(glob + 1, text + 1, *glob == '/');
	size_t stars = strspn(glob, "*");
	const char *rest = glob + stars;
	if (stars > 1 && segment_start && *rest == '/') {
		if (means(rest + 1, text, true))
			return true;
		for (const char *p = text; *p; p++)
			if (*p == '/' && means(rest + 1, p + 1, true))
				return true;
		return false;
	}
	for (const char *p = text;; p++) {
		if (means(rest, p, false))
			return true;
		if (!*p || (stars == 1 && *p == '/'))
			return false;
	}
}

/* The n-th word over an alphabet, shortest first. */
static void nth_word(size_t n, const char *alphabet, char *out)
{
	size_t letters = strlen(alphabet), len = 0;
	for (; n > 0; n = (n - 1) / letters)
		out[len++] = alphabet[(n - 1) % letters];
	out[len] = '\0';
}

#define N_GLOBS 3906 /* over 5 letters, up to 5 long */
#define N_TEXTS 364  /* over 3 letters, up to 5 long */

static void check_against_meaning(const struct policy_glob *glob, const char *text, const char *pattern)
{
	if (policy_glob_accepts(glob, span_str(text)) != means(pattern, text, true))
		fail_msg("\"%s\" on \"%s\"", pattern, text);
}

static void test_match_agrees_with_the_meaning(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_GLOBS; i++) {
		char pattern[16], text[16];
		const char *why;
		nth_word(i, "ab*/?", pattern);
		struct policy_glob *glob = policy_glob_new(pattern, POLICY_GLOB_PATH, &why);
		assert_non_null(glob);
		for (size_t k = 0; k < N_TEXTS; k++) {
			nth_word(k, "ab/", text);
			check_against_meaning(glob, text, pattern);
		}
		policy_glob_free(glob);
	}
}

/* What covers a prefix accepts every text below it; what does not overlap accepts none; and the two are not too shy on
 * texts this short. */
static void check_prefix(const struct policy_glob *glob, const char *pattern, const char *prefix)
{
	size_t len = strlen(prefix), below = 0, accepted = 0;
	for (size_t k = 0; k < N_TEXTS; k++) {
		char text[16];
		nth_word(k, "ab/", text);
		if (strncmp(text, prefix, len) != 0)
			continue;
		below++;
		accepted += policy_glob_accepts(glob, span_str(text));
	}
	if (policy_glob_covers(glob, span_str(prefix)) && accepted != below)
		fail_msg("\"%s\" does not cover \"%s\"", pattern, prefix);
	if (!policy_glob_overlaps(glob, span_str(prefix)) && accepted != 0)
		fail_msg("\"%s\" overlaps \"%s\"", pattern, prefix);
	/* Globs of up to 3 characters have no text of their own beyond 5, so that finding none means there is none. */
	if (strlen(pattern) <= 3 && len <= 2 && policy_glob_overlaps(glob, span_str(prefix)) && accepted == 0)
		fail_msg("\"%s\" does not overlap \"%s\"", pattern, prefix);
}

static void test_prefixes_agree_with_the_meaning(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_GLOBS; i += i < 156 ? 1 : 7) {
		char pattern[16], prefix[16];
		const char *why;
		nth_word(i, "ab*/?", pattern);
		struct policy_glob *glob = policy_glob_new(pattern, POLICY_GLOB_PATH, &why);
		assert_non_null(glob);
		for (size_t k = 0; k < 40; k++) {
			nth_word(k, "ab/", prefix);
			check_prefix(glob, pattern, prefix);
		}
		policy_glob_free(glob);
	}
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_match), cmocka_unit_test(test_malformed_globs_are_refused),
             cmocka_unit_test(test_length_is_limited), cmocka_unit_test(test_flat_globs_know_no_segments),
             cmocka_unit_test(test_stars_do_not_explode), cmocka_unit_test(test_prefixes),
             cmocka_unit_test(test_match_agrees_with_the_meaning),
             cmocka_unit_test(test_prefixes_agree_with_the_meaning))
