#include "common/secret.h"

#include <inttypes.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/unit/harness.h"

static void test_new_is_zeroed(void **state)
{
	(void)state;
	autosecret struct secret *secret = secret_new(65536);
	assert_int_equal(secret_span(secret).len, 65536);
	for (size_t i = 0; i < 65536; i++)
		assert_int_equal(secret_bytes(secret)[i], 0);
}

static void test_from_copies(void **state)
{
	(void)state;
	char pin[] = "1234";
	autosecret struct secret *secret = secret_from(span_str(pin));
	secret_wipe(pin, sizeof pin);
	assert_memory_equal(pin, "\0\0\0\0\0", 5);
	assert_true(span_eq(secret_span(secret), span_str("1234")));
}

static void test_equality(void **state)
{
	(void)state;
	autosecret struct secret *a = secret_from(span_str("same")), *b = secret_from(span_str("same")),
	                         *other = secret_from(span_str("sane")), *longer = secret_from(span_str("same!"));
	assert_true(secret_eq(a, b));
	assert_false(secret_eq(a, other));
	assert_false(secret_eq(a, longer));
}

static void test_truncate_wipes_the_rest(void **state)
{
	(void)state;
	autosecret struct secret *secret = secret_from(span_str("abcdef"));
	secret_truncate(secret, 2);
	assert_true(span_eq(secret_span(secret), span_str("ab")));
	assert_memory_equal(secret_bytes(secret) + 2, "\0\0\0\0", 4);
	secret_free(NULL);
}

/* Whether the mapping around `address` has a flag in /proc/self/smaps. */
static bool mapping_has_flag(const void *address, const char *flag)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	assert_non_null(smaps);
	char line[512];
	bool inside = false, found = false;
	while (fgets(line, sizeof line, smaps)) {
		uint64_t from, to;
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &from, &to) == 2)
			inside = (uintptr_t)address >= from && (uintptr_t)address < to;
		else if (inside && strncmp(line, "VmFlags:", 8) == 0)
			found = strstr(line, flag) != NULL;
	}
	fclose(smaps);
	return found;
}

static void test_core_files_leave_it_out(void **state)
{
	(void)state;
	autosecret struct secret *secret = secret_new(32);
	assert_true(mapping_has_flag(secret_bytes(secret), " dd"));
	assert_true(mapping_has_flag(secret_bytes(secret), " wf"));
	assert_false(mapping_has_flag(state, " dd"));
}

/* In a process that may lock nothing: how many are unlocked, before, with, and after one secret. */
static int count_unlocked(void)
{
	const struct rlimit nothing = {0, 0};
	if (setrlimit(RLIMIT_MEMLOCK, &nothing) != 0 || (geteuid() == 0 && setuid(65534) != 0))
		return 1;
	if (secret_unlocked() != 0)
		return 2;
	struct secret *secret = secret_from(span_str("pin"));
	if (secret_unlocked() != 1 || !span_eq(secret_span(secret), span_str("pin")))
		return 3;
	secret_free(secret);
	return secret_unlocked() == 0 ? 0 : 4;
}

static void test_unlocked_memory_is_counted(void **state)
{
	(void)state;
	if (mlock(NULL, 4096) == 0)
		exit(77); /* sanitizers turn mlock into nothing */
	pid_t child = fork();
	if (child == 0)
		_exit(count_unlocked());
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_new_is_zeroed), cmocka_unit_test(test_from_copies),
             cmocka_unit_test(test_equality), cmocka_unit_test(test_truncate_wipes_the_rest),
             cmocka_unit_test(test_core_files_leave_it_out), cmocka_unit_test(test_unlocked_memory_is_counted))
