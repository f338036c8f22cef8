/* Making the search index anew. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "audit/index.h"

enum { LOOK_US = 50000 };

static enum err_code check_directory(const char *directory, struct err *err)
{
	autofree char *log = xasprintf("%s/log", directory);
	if (access(log, F_OK) != 0)
		return err_set(err, ERR_NOT_FOUND, errno, "%s: there is no log in it", directory);
	return ERR_OK;
}

/* Opened first with the index as it is: it witnesses that the log has not lost its end. */
static enum err_code check_log(const struct audit_options *options, struct err *err)
{
	struct audit *audit = NULL;
	enum err_code code = audit_open(options, &audit, err);
	audit_close(audit);
	return code;
}

static enum err_code build(const struct audit_options *options,
                           void (*progress)(uint64_t indexed, uint64_t committed, void *user), void *user,
                           struct err *err)
{
	struct audit *audit = NULL;
	uint64_t committed = 0, indexed = 0;
	enum err_code code = audit_open(options, &audit, err);
	if (code != ERR_OK)
		return code;
	do {
		usleep(LOOK_US);
		audit_progress(audit, &committed, &indexed);
		progress(indexed, committed, user);
	} while (indexed < committed);
	audit_close(audit);
	return ERR_OK;
}

enum err_code audit_reindex(const char *directory, void (*progress)(uint64_t indexed, uint64_t committed, void *user),
                            void *user, bool *ret_running, struct err *err)
{
	const struct audit_options options = {.directory = directory};
	autofree char *path = xasprintf("%s/index.sqlite3", directory);
	enum err_code code = check_directory(directory, err);
	if (code == ERR_OK)
		code = check_log(&options, err);
	*ret_running = code == ERR_PRECONDITION;
	if (code != ERR_OK && !*ret_running)
		return code;
	audit_index_db_remove(path);
	return *ret_running ? ERR_OK : build(&options, progress, user, err);
}
