#include "common/forwarded.h"

#include "common/text.h"
#include "tests/unit/harness.h"

static const char *const trusted_texts[] = {"10.0.0.0/24", "10.0.1.1", "2001:db8:aa::/48"};
#define N_TRUSTED (sizeof trusted_texts / sizeof trusted_texts[0])

static struct ip_net trusted[N_TRUSTED];

static int parse_trusted(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_TRUSTED; i++)
		if (!ip_net_parse(trusted_texts[i], &trusted[i]))
			return -1;
	return 0;
}

static char *trim(char *text)
{
	text += strspn(text, " ");
	for (size_t len = strlen(text); len > 0 && text[len - 1] == ' '; len--)
		text[len - 1] = '\0';
	return text;
}

static bool check_line(const char *line)
{
	autofree char *copy = xstrdup(line);
	char *rest = copy, *peer_text = trim(strsep(&rest, "|")), *header = trim(strsep(&rest, "|"));
	const char *expected = trim(rest);
	struct ip_addr peer, client;
	assert_true(ip_parse(peer_text, &peer));
	char got[IP_TEXT_MAX] = "none";
	if (forwarded_address(&peer, strcmp(header, "-") == 0 ? NULL : header, trusted, N_TRUSTED, &client))
		ip_format(&client, got);
	if (strcmp(got, expected) != 0)
		print_error("%s\n  got %s\n", line, got);
	return strcmp(got, expected) == 0;
}

/* tests/vectors/forwarded/cases.txt */
static void test_table(void **state)
{
	(void)state;
	struct err err;
	autobuf struct buf text = {0};
	assert_ok(text_read_file(TEST_SOURCE_DIR "/vectors/forwarded/cases.txt", 1 << 20, &text, &err), err);
	unsigned checked = 0, wrong = 0;
	char *rest = (char *)buf_cstr(&text);
	for (char *line; (line = strsep(&rest, "\n"));) {
		if (!*line || *line == '#')
			continue;
		checked++;
		wrong += !check_line(line);
	}
	assert_int_equal(wrong, 0);
	assert_true(checked >= 55);
}

static void test_nobody_is_trusted_by_default(void **state)
{
	(void)state;
	struct ip_addr peer, client;
	assert_true(ip_parse("10.0.0.1", &peer));
	assert_true(forwarded_address(&peer, "198.51.100.1", NULL, 0, &client));
	assert_memory_equal(&client, &peer, sizeof peer);
}

/* Long headers are read from the end only: ten thousand entries that a client wrote cost nothing. */
static void test_a_long_header(void **state)
{
	(void)state;
	autobuf struct buf header = {0};
	for (int i = 0; i < 10000; i++)
		buf_append_str(&header, "203.0.113.66, ");
	buf_append_str(&header, "198.51.100.1");
	struct ip_addr peer, client;
	char got[IP_TEXT_MAX];
	assert_true(ip_parse("10.0.0.1", &peer));
	assert_true(forwarded_address(&peer, buf_cstr(&header), trusted, N_TRUSTED, &client));
	ip_format(&client, got);
	assert_string_equal(got, "198.51.100.1");
}

HARNESS_MAIN(parse_trusted, NULL, cmocka_unit_test(test_table), cmocka_unit_test(test_nobody_is_trusted_by_default),
             cmocka_unit_test(test_a_long_header))
