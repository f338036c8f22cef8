#include "common/yaml.h"

#include "common/text.h"
#include "tests/unit/harness.h"

struct door {
	char *name;
	struct yaml_mark mark;
	struct yaml_strings keys;
};

struct house {
	char *listen;
	bool lit;
	uint64_t size, limit;
	int colour;
	int64_t built;
	struct yaml_strings rooms;
	struct {
		char *street;
		uint64_t number;
	} address;
	struct yaml_list doors;
};

static const struct yaml_name colours[] = {{"red", 1}, {"green", 2}, {0}};
static const struct yaml_field door_fields[] = {
    YAML_FIELD(struct door, name, YAML_STRING, .required = true, .hint = "a word"),
    YAML_FIELD(struct door, keys, YAML_STRINGS, .min = 1, .max = 2),
    {0}};
static const struct yaml_type door_type = {sizeof(struct door), door_fields, offsetof(struct door, mark)};
static const struct yaml_field address_fields[] = {
    {.name = "street", .kind = YAML_STRING, .offset = 0, .required = true},
    {.name = "number", .kind = YAML_UINT, .offset = sizeof(char *)},
    {0}};
static const struct yaml_type address_type = {.size = sizeof(((struct house *)NULL)->address),
                                              .fields = address_fields};
static const struct yaml_field house_fields[] = {
    YAML_FIELD(struct house, listen, YAML_STRING, .required = true, .hint = "HOST:PORT"),
    YAML_FIELD(struct house, lit, YAML_BOOL),
    YAML_FIELD(struct house, size, YAML_UINT),
    YAML_FIELD(struct house, limit, YAML_UINT, .min = 2, .max = 1024),
    YAML_FIELD(struct house, colour, YAML_ENUM, .names = colours),
    YAML_FIELD(struct house, built, YAML_TIME),
    YAML_FIELD(struct house, rooms, YAML_STRINGS),
    YAML_FIELD(struct house, address, YAML_MAP, .item = &address_type),
    YAML_FIELD(struct house, doors, YAML_LIST, .item = &door_type, .max = 9),
    {0}};
static const struct yaml_type house_type = {.size = sizeof(struct house), .fields = house_fields};

static enum err_code parse(const char *text, struct house *house, struct err *err)
{
	return yaml_parse("f.yaml", span_str(text), &house_type, house, err);
}

static void test_every_kind_of_value(void **state)
{
	(void)state;
	struct err err;
	struct house house = {0};
	assert_ok(parse("# a comment\n"
	                "listen: 127.0.0.1:8443\n"
	                "lit: true\n"
	                "size: 64 KiB\n"
	                "limit: 1024\n"
	                "colour: green\n"
	                "built: 2026-11-21T18:20:00Z\n"
	                "rooms: [kitchen, \"hall: \\u00e9\", '']\n"
	                "address: {street: \"null\", number: 0}\n"
	                "doors:\n"
	                "  - name: front\n"
	                "    keys: [a, b]\n"
	                "  - {name: back, keys: c}\n",
	                &house, &err),
	          err);
	assert_string_equal(house.listen, "127.0.0.1:8443");
	assert_true(house.lit);
	assert_int_equal(house.size, 65536);
	assert_int_equal(house.limit, 1024);
	assert_int_equal(house.colour, 2);
	assert_int_equal(house.built, INT64_C(1795285200000));
	assert_int_equal(house.rooms.n, 3);
	assert_string_equal(house.rooms.items[1], "hall: \xc3\xa9");
	assert_string_equal(house.rooms.items[2], "");
	assert_int_equal(house.rooms.marks[1].line, 8);
	assert_int_equal(house.rooms.marks[1].column, 18);
	assert_string_equal(house.address.street, "null");
	const struct door *doors = house.doors.items;
	assert_int_equal(house.doors.n, 2);
	assert_int_equal(doors[0].mark.line, 11);
	assert_int_equal(doors[0].mark.column, 5);
	assert_int_equal(doors[0].keys.n, 2);
	assert_string_equal(doors[1].name, "back");
	assert_int_equal(doors[1].keys.n, 1);
	yaml_free(&house_type, &house);
	assert_null(house.listen);
	assert_null(house.doors.items);
	assert_int_equal(house.limit, 0);
}

static void test_defaults_stay_or_are_replaced(void **state)
{
	(void)state;
	struct err err;
	struct house house = {.lit = true, .limit = 7};
	house.listen = xstrdup("default");
	house.address.street = xstrdup("default");
	house.rooms.items = xcalloc(1, sizeof(char *));
	house.rooms.marks = xcalloc(1, sizeof(struct yaml_mark));
	house.rooms.items[0] = xstrdup("default");
	house.rooms.n = 1;
	assert_ok(parse("listen: here\nrooms: [a, b]\n", &house, &err), err);
	assert_string_equal(house.listen, "here");
	assert_int_equal(house.rooms.n, 2);
	assert_string_equal(house.rooms.items[0], "a");
	assert_true(house.lit);
	assert_int_equal(house.limit, 7);
	assert_string_equal(house.address.street, "default");
	yaml_free(&house_type, &house);
}

static void test_numbers(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t value;
	} numbers[] = {{"0", 0},
	               {"7", 7},
	               {"9999999999999999999", UINT64_C(9999999999999999999)},
	               {"1KiB", 1024},
	               {"3 MiB", 3 << 20},
	               {"2GiB", UINT64_C(2) << 30},
	               {"16777215 GiB", UINT64_C(16777215) << 30}};
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
		struct err err;
		struct house house = {0};
		autofree char *text = xasprintf("{listen: x, size: %s}", numbers[i].text);
		assert_ok(parse(text, &house, &err), err);
		assert_true(house.size == numbers[i].value);
		yaml_free(&house_type, &house);
	}
}

static void test_long_lists(void **state)
{
	(void)state;
	struct err err;
	struct house house = {0};
	autobuf struct buf text = {0};
	buf_append_str(&text, "listen: x\nrooms:\n");
	for (int i = 0; i < 1000; i++)
		buf_printf(&text, "- room-%d\n", i);
	assert_ok(parse(buf_cstr(&text), &house, &err), err);
	assert_int_equal(house.rooms.n, 1000);
	assert_string_equal(house.rooms.items[999], "room-999");
	assert_int_equal(house.rooms.marks[999].line, 1002);
	yaml_free(&house_type, &house);
}

static const struct {
	const char *text, *error;
} refusals[] = {
    /* keys */
    {"listen: x\nlisten: y\n", "f.yaml:2:1: key \"listen\" is repeated; the first is in line 1"},
    {"lisen: x\n", "f.yaml:1:1: unknown key \"lisen\"; did you mean \"listen\"?"},
    {"listen: x\nlimti: 3\n", "f.yaml:2:1: unknown key \"limti\"; did you mean \"limit\"?"},
    {"listen: x\nzebra: 3\n", "f.yaml:2:1: unknown key \"zebra\"; known: listen, lit, size, limit, colour, built, "
                              "rooms, address, doors"},
    {"listen: x\n\"\\e[31m\": 3\n", "f.yaml:2:1: unknown key \"?[31m\"; known: listen, lit, size, limit, colour, "
                                    "built, rooms, address, doors"},
    {"listen: x\naddress: {street: a, 'a very long key that goes on \xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"
     "\xc3\xa9\xc3\xa9': 1}\n",
     "f.yaml:2:22: unknown key \"a very long key that goes on "
     "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9...\"; known: street, number"},
    {"<<: {}\nlisten: x\n", "f.yaml:1:1: unknown key \"<<\"; known: listen, lit, size, limit, colour, built, rooms, "
                            "address, doors"},
    {"? [a]\n: x\n", "f.yaml:1:3: a key must be plain text"},
    {"lit: true\n", "f.yaml:1:1: key \"listen\" is missing; it takes HOST:PORT"},
    {"listen: x\naddress: {}\n", "f.yaml:2:10: key \"street\" is missing; it takes text"},
    {"listen: x\ndoors:\n  - name: a\n  - keys: [b]\n", "f.yaml:4:5: key \"name\" is missing; it takes a word"},
    /* values */
    {"listen:\n", "f.yaml:1:8: \"listen\" has no value; it must be HOST:PORT"},
    {"listen: ~\n", "f.yaml:1:9: \"listen\" has no value; it must be HOST:PORT"},
    {"listen: null\n", "f.yaml:1:9: \"listen\" has no value; it must be HOST:PORT"},
    {"listen: [a]\n", "f.yaml:1:9: \"listen\" must be HOST:PORT"},
    {"listen: {a: b}\n", "f.yaml:1:9: \"listen\" must be HOST:PORT"},
    {"listen: \"a\\0b\"\n", "f.yaml:1:9: \"listen\" must not contain a NUL character"},
    {"lit: yes\n", "f.yaml:1:6: \"lit\" must be true or false, not \"yes\""},
    {"lit: \"true\"\n", "f.yaml:1:6: \"lit\" must be true or false, without quotes, not \"true\""},
    {"size: -1\n", "f.yaml:1:7: \"size\" must be a number, not \"-1\""},
    {"size: 010\n", "f.yaml:1:7: \"size\" must be a number, not \"010\""},
    {"size: 0x10\n", "f.yaml:1:7: \"size\" must be a number, not \"0x10\""},
    {"size: 1.5\n", "f.yaml:1:7: \"size\" must be a number, not \"1.5\""},
    {"size: 1KB\n", "f.yaml:1:7: \"size\" must be a number, not \"1KB\""},
    {"size: KiB\n", "f.yaml:1:7: \"size\" must be a number, not \"KiB\""},
    {"size: 18446744073709551616\n", "f.yaml:1:7: \"size\" must be a number, not \"18446744073709551616\""},
    {"size: 9999999999999999999 GiB\n", "f.yaml:1:7: \"size\" must be a number, not \"9999999999999999999 GiB\""},
    {"size: \"5\"\n", "f.yaml:1:7: \"size\" must be a number, without quotes, not \"5\""},
    {"size: [5]\n", "f.yaml:1:7: \"size\" must be a number"},
    {"limit: 1\n", "f.yaml:1:8: \"limit\" must be a number from 2 to 1024, not \"1\""},
    {"limit: 1025\n", "f.yaml:1:8: \"limit\" must be a number from 2 to 1024, not \"1025\""},
    {"colour: geen\n", "f.yaml:1:9: \"colour\" must be one of red, green, not \"geen\"; did you mean \"green\"?"},
    {"colour: RED\n", "f.yaml:1:9: \"colour\" must be one of red, green, not \"RED\"; known: red, green"},
    {"built: yesterday\n", "f.yaml:1:8: \"built\" must be a time such as 2026-11-21T18:20:00Z, or a date, not "
                           "\"yesterday\""},
    {"rooms: [a, [b]]\n", "f.yaml:1:12: \"rooms\" must be a list of texts, or one text"},
    {"rooms: {a: b}\n", "f.yaml:1:8: \"rooms\" must be a list of texts, or one text"},
    {"rooms: [a, ]\nlisten: [x]", "f.yaml:2:9: \"listen\" must be HOST:PORT"},
    {"rooms:\n- a\n-\n", "f.yaml:3:2: \"rooms\" has no value; it must be text"},
    {"address: a\n", "f.yaml:1:10: \"address\" must be a group of indented `key: value` lines"},
    {"doors: {name: a}\n",
     "f.yaml:1:8: \"doors\" must be a list of groups of `key: value` lines, each starting with `- `"},
    {"doors: [a]\n", "f.yaml:1:9: \"doors\" must be a list of groups of `key: value` lines, each starting with `- `"},
    {"doors: [{name: a, keys: []}]\n", "f.yaml:1:25: \"keys\" needs at least 1 entry"},
    {"doors: [{name: a, keys: [a, b, c]}]\n", "f.yaml:1:25: \"keys\" has 3 entries, more than 2"},
    /* documents */
    {"", "f.yaml:1:1: the file has no content"},
    {"# nothing\n", "f.yaml:2:1: the file has no content"},
    {"just text\n", "f.yaml:1:1: the file must consist of `key: value` lines"},
    {"- a\n", "f.yaml:1:1: the file must consist of `key: value` lines"},
    {"listen: x\n---\nlisten: y\n", "f.yaml:2:1: the file must hold one document only"},
    {"listen: &a x\n", "f.yaml:1:9: anchors (&name) are not allowed"},
    {"rooms: &a [x]\n", "f.yaml:1:8: anchors (&name) are not allowed"},
    {"address: &a {street: x}\n", "f.yaml:1:10: anchors (&name) are not allowed"},
    {"listen: *a\n", "f.yaml:1:9: aliases (*name) are not allowed: write the value out"},
    {"listen: !!str x\n", "f.yaml:1:9: tags (!name) are not allowed"},
    {"rooms: !x [x]\n", "f.yaml:1:8: tags (!name) are not allowed"},
    {"address: !x {street: x}\n", "f.yaml:1:10: tags (!name) are not allowed"},
    {"listen: x\n\tlit: true\n", "f.yaml:2:1: not YAML: found a tab character that violates indentation"},
    {"listen: @x\n", "f.yaml:1:9: not YAML: found character that cannot start any token (indent with spaces; quote "
                     "text with @, % or `)"},
    {"rooms: [a\n", "f.yaml:2:1: not YAML: did not find expected ',' or ']'"},
    {"listen: \"a\n", "f.yaml:2:1: not YAML: found unexpected end of stream"},
    {"listen: a\xff\n", "f.yaml:1:1: not YAML: invalid leading UTF-8 octet"},
};

static void test_refusals(void **state)
{
	(void)state;
	unsigned wrong = 0;
	for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
		struct err err = {0};
		struct house house = {0};
		enum err_code code = parse(refusals[i].text, &house, &err);
		yaml_free(&house_type, &house);
		if (code == ERR_INVALID && strcmp(err.text, refusals[i].error) == 0)
			continue;
		wrong++;
		print_error("%s: %s\n  got  %s\n  want %s\n", refusals[i].text, err_name(code), err.text, refusals[i].error);
	}
	assert_int_equal(wrong, 0);
}

static void test_too_large(void **state)
{
	(void)state;
	struct err err;
	struct house house = {0};
	size_t len = ((size_t)4 << 20) + 1;
	autofree char *text = xcalloc(1, len);
	memset(text, '#', len);
	assert_err(yaml_parse("f.yaml", span_of(text, len), &house_type, &house, &err), ERR_INVALID);
	assert_string_equal(err.text, "f.yaml: larger than 4194304 bytes");
}

static void test_load(void **state)
{
	(void)state;
	struct err err;
	struct house house = {0};
	char folder[] = "/tmp/twokey-yaml-XXXXXX";
	assert_non_null(mkdtemp(folder));
	autofree char *path = xasprintf("%s/house.yaml", folder);
	assert_ok(text_write_file(path, span_str("listen: x\n"), 0600, &err), err);
	assert_ok(yaml_load(path, &house_type, &house, &err), err);
	assert_string_equal(house.listen, "x");
	yaml_free(&house_type, &house);
	unlink(path);
	assert_err(yaml_load(path, &house_type, &house, &err), ERR_NOT_FOUND);
	rmdir(folder);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_every_kind_of_value),
             cmocka_unit_test(test_defaults_stay_or_are_replaced), cmocka_unit_test(test_numbers),
             cmocka_unit_test(test_long_lists), cmocka_unit_test(test_refusals), cmocka_unit_test(test_too_large),
             cmocka_unit_test(test_load))
