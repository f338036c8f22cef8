/* Generations: which is current, which signatures count as ours, which KEK opens what; all from records. */
#include "server/keys.h"

#include "common/text.h"
#include "tests/unit/harness.h"
#include "tests/unit/softhsm.h"

#define NOW     1800000000000 /* ms */
#define OVERLAP (300000 + 2 * TRANSACTION_CLOCK_SKEW_MS)

static struct softhsm token;
static struct hsm *hsm;
static struct config config;

static void write_config(const char *text)
{
	struct err err = {0};
	autofree char *path = xasprintf("%s/twokey.yaml", token.dir);
	softhsm_write(path, text, 0600);
	assert_ok(config_load(path, &config, &err), err);
}

static int open_token(void **state)
{
	(void)state;
	struct err err = {0};
	softhsm_setup(&token, "keys");
	const struct hsm_options options = {
	    .module = SOFTHSM_MODULE, .token = "pkcs11:token=keys", .pin_source = token.pin_source};
	assert_ok(hsm_open(&options, &hsm, &err), err);
	assert_ok(hsm_generate_ec(hsm, "twokey-transaction", &err), err);
	assert_ok(hsm_generate_ec(hsm, "twokey-audit", &err), err);
	assert_ok(hsm_generate_aes(hsm, "twokey-kek-a", &err), err);
	write_config("role: gatekeeper\nname: clinic\nrules: r.yaml\n"
	             "tls: {certificate: g.pem, key: g.key}\n"
	             "token: {uri: 'pkcs11:token=keys'}\nledger: {directory: ledger}\n"
	             "vendor_keys: [{name: v, public_key: v.pem}]\n"
	             "buckets: [{name: a, store: directory, directory: o}]\n");
	return 0;
}

static int close_token(void **state)
{
	(void)state;
	config_done(&config);
	hsm_free(hsm);
	softhsm_teardown(&token);
	return 0;
}

static struct keys *open_keys(void)
{
	struct err err = {0};
	struct keys *keys = NULL;
	assert_ok(keys_open(&config, hsm, &keys, &err), err);
	return keys;
}

static void apply(struct keys *keys, Twokey__V1__KeyRole role, Twokey__V1__KeyAction action, const char *label,
                  uint64_t index, int64_t time_ms)
{
	Twokey__V1__Record record = TWOKEY__V1__RECORD__INIT;
	Google__Protobuf__Timestamp time = transaction_timestamp(time_ms);
	record.event = TWOKEY__V1__EVENT__EVENT_KEY;
	record.decision = TWOKEY__V1__DECISION__DECISION_GRANTED;
	record.index = index;
	record.time = &time;
	record.key_role = role;
	record.key_action = action;
	record.key_label = (char *)label;
	record.bucket = role == TWOKEY__V1__KEY_ROLE__KEY_ROLE_KEK ? (char *)"a" : (char *)"";
	keys_apply(keys, &record);
}

#define TRANSACTION TWOKEY__V1__KEY_ROLE__KEY_ROLE_TRANSACTION
#define KEK         TWOKEY__V1__KEY_ROLE__KEY_ROLE_KEK
#define USE         TWOKEY__V1__KEY_ACTION__KEY_ACTION_USE
#define RETIRE      TWOKEY__V1__KEY_ACTION__KEY_ACTION_RETIRE

static bool counts_as_ours(struct keys *keys, struct hsm_key *key, int64_t now_ms)
{
	struct err err = {0};
	struct envelope envelope = {0};
	envelope_new(TRANSACTION_TYPE, span_str("payload"), &envelope);
	assert_ok(envelope_sign(&envelope, key, &err), err);
	bool ours = keyring_verify(keys_own(keys), &envelope, now_ms) != NULL;
	envelope_done(&envelope);
	return ours;
}

static void test_labels(void **state)
{
	(void)state;
	char label[KEY_LABEL_MAX];
	keys_label("twokey-kek-a", 1, label);
	assert_string_equal(label, "twokey-kek-a");
	keys_label("twokey-kek-a", 12, label);
	assert_string_equal(label, "twokey-kek-a@12");
	autofree char *uri = keys_uri("a b@2;c%");
	assert_string_equal(uri, "pkcs11:object=a%20b%402%3Bc%25");
}

static void test_an_old_transaction_key_counts_until_nothing_it_signed_is_valid(void **state)
{
	(void)state;
	struct err err = {0};
	struct keys *keys = open_keys();
	struct hsm_key *first = keys_transaction(keys);
	assert_ok(hsm_generate_ec(hsm, "twokey-transaction@2", &err), err);
	assert_ok(keys_look(keys, &err), err);
	struct key_view view;
	struct key_line *line = keys_line(keys, TRANSACTION, NULL);
	assert_true(keys_view(keys, line, 2, &view));
	assert_false(view.current || view.used);
	assert_false(counts_as_ours(keys, view.key, NOW)); /* nobody has used it */
	apply(keys, TRANSACTION, USE, "twokey-transaction@2", 7, NOW);
	assert_ptr_equal(keys_transaction(keys), view.key);
	assert_true(counts_as_ours(keys, view.key, NOW));
	assert_true(counts_as_ours(keys, first, NOW + OVERLAP - 1));
	assert_false(counts_as_ours(keys, first, NOW + OVERLAP + 1));
	apply(keys, TRANSACTION, RETIRE, "twokey-transaction", 8, NOW);
	assert_false(counts_as_ours(keys, first, NOW));
	assert_ok(keys_check(keys, &err), err);
	keys_free(keys);
}

static void apply_again(const Twokey__V1__Record *record, void *user)
{
	keys_apply((struct keys *)user, record);
}

static void test_facts_give_the_same_state_again(void **state)
{
	(void)state;
	struct err err = {0};
	assert_ok(hsm_generate_aes(hsm, "twokey-kek-a@2", &err), err);
	assert_ok(hsm_generate_aes(hsm, "twokey-kek-a@3", &err), err);
	struct keys *keys = open_keys(), *again = open_keys();
	apply(keys, KEK, USE, "twokey-kek-a@2", 3, NOW);
	apply(keys, KEK, USE, "twokey-kek-a@3", 4, NOW + 1);
	apply(keys, KEK, RETIRE, "twokey-kek-a", 5, NOW + 2);
	apply(keys, KEK, USE, "twokey-kek-a@2", 6, NOW + 3);
	keys_facts(keys, apply_again, again);
	for (unsigned generation = 1; generation <= 3; generation++) {
		struct key_view a, b;
		assert_true(keys_view(keys, keys_line(keys, KEK, "a"), generation, &a));
		assert_true(keys_view(again, keys_line(again, KEK, "a"), generation, &b));
		assert_int_equal(a.current, generation == 2);
		assert_int_equal(a.retired, generation == 1);
		assert_true(a.current == b.current && a.retired == b.retired && a.used == b.used);
	}
	keys_forget(again);
	unsigned current;
	keys_current(again, keys_line(again, KEK, "a"), &current);
	assert_int_equal(current, 1);
	keys_free(keys);
	keys_free(again);
}

static void test_the_kek_that_sealed_opens(void **state)
{
	(void)state;
	struct err err = {0};
	assert_ok(hsm_generate_aes(hsm, "twokey-kek-a@2", &err), err);
	struct keys *keys = open_keys();
	struct key_line *line = keys_line(keys, KEK, "a");
	struct key_view first, second;
	assert_true(keys_view(keys, line, 1, &first) && keys_view(keys, line, 2, &second));
	unsigned generation;
	assert_ptr_equal(keys_hold(keys, line, &generation), first.key);
	apply(keys, KEK, USE, "twokey-kek-a@2", 1, NOW);
	assert_ptr_equal(keys_by_id(keys, line, hsm_key_id(first.key)), first.key);
	assert_int_equal(keys_holders(keys, line, 1), 1);
	keys_give_back(keys, line, generation);
	assert_int_equal(keys_holders(keys, line, 1), 0);
	apply(keys, KEK, RETIRE, "twokey-kek-a", 2, NOW);
	assert_ptr_equal(keys_by_id(keys, line, hsm_key_id(first.key)), second.key); /* which says that it is another */
	keys_free(keys);
}

static void test_what_is_used_must_be_there(void **state)
{
	(void)state;
	struct err err = {0};
	struct keys *keys = open_keys();
	apply(keys, TRANSACTION, USE, "twokey-transaction@5", 1, NOW);
	assert_err(keys_check(keys, &err), ERR_NOT_FOUND);
	assert_non_null(strstr(err.text, "twokey-transaction@5"));
	keys_free(keys);
}

static void test_what_names_no_label_of_ours_changes_nothing(void **state)
{
	(void)state;
	struct keys *keys = open_keys();
	static const char *const labels[] = {"",          "twokey-transaction@",   "twokey-transaction@02",
	                                     "twokey@2",  "twokey-transaction@1",  "twokey-transaction@x",
	                                     "something", "twokey-transaction@2 ", "twokey-transaction@99999"};
	for (size_t i = 0; i < sizeof labels / sizeof labels[0]; i++)
		apply(keys, TRANSACTION, USE, labels[i], i, NOW);
	unsigned current;
	keys_current(keys, keys_line(keys, TRANSACTION, ""), &current);
	assert_int_equal(current, 1);
	assert_null(keys_line(keys, KEK, "b"));
	keys_free(keys);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test_setup_teardown(test_labels, open_token, close_token),
             cmocka_unit_test_setup_teardown(test_an_old_transaction_key_counts_until_nothing_it_signed_is_valid,
                                             open_token, close_token),
             cmocka_unit_test_setup_teardown(test_facts_give_the_same_state_again, open_token, close_token),
             cmocka_unit_test_setup_teardown(test_the_kek_that_sealed_opens, open_token, close_token),
             cmocka_unit_test_setup_teardown(test_what_is_used_must_be_there, open_token, close_token),
             cmocka_unit_test_setup_teardown(test_what_names_no_label_of_ours_changes_nothing, open_token, close_token))
