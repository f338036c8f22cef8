/* The configuration of an authority: docs/IDENTITY.md. */
#include <stdlib.h>
#include <unistd.h>

#include "server/ca.h"

#define DAYS_MAX 3650

#define TOKEN(member, ...)                                                                                             \
	{                                                                                                                  \
		.name = #member, .kind = YAML_STRING,                                                                          \
		.offset = offsetof(struct ca_config, token.member) - offsetof(struct ca_config, token), __VA_ARGS__            \
	}
static const struct yaml_field token_fields[] = {
    TOKEN(module, .hint = "absolute path of a PKCS#11 module"),
    TOKEN(uri, .required = true, .hint = "an RFC 7512 URI such as pkcs11:token=ca"),
    TOKEN(pin_source, .hint = "file:PATH, credential:NAME or prompt"),
    {0}};
static const struct yaml_type token_type = {.size = sizeof((struct ca_config *)NULL)->token, .fields = token_fields};
static const struct yaml_field fields[] = {
    YAML_FIELD(struct ca_config, name, YAML_STRING, .required = true, .hint = "the authority's name"),
    YAML_FIELD(struct ca_config, token, YAML_MAP, .required = true, .item = &token_type),
    YAML_FIELD(struct ca_config, key, YAML_STRING, .hint = "an RFC 7512 URI"),
    YAML_FIELD(struct ca_config, directory, YAML_STRING, .hint = "path of a folder"),
    YAML_FIELD(struct ca_config, lifetime, YAML_UINT, .min = 1, .max = DAYS_MAX),
    YAML_FIELD(struct ca_config, list_lifetime, YAML_UINT, .min = 1, .max = DAYS_MAX),
    {0}};
static const struct yaml_type type = {.size = sizeof(struct ca_config), .fields = fields};

static void set_default(char **value, const char *standard)
{
	if (!*value)
		*value = xstrdup(standard);
}

/* From the folder of the file. */
static void resolve(const struct ca_config *config, char **path)
{
	if (**path == '/')
		return;
	const int folder = (int)(strrchr(config->path, '/') - config->path);
	char *full = xasprintf("%.*s/%s", folder, config->path, *path);
	free(*path);
	*path = full;
}

enum err_code ca_config_load(const char *path, struct ca_config *ret, struct err *err)
{
	*ret = (struct ca_config){.lifetime = 30, .list_lifetime = 30};
	enum err_code code = yaml_load(path, &type, ret, err);
	if (code != ERR_OK)
		return code;
	autofree char *here = *path == '/' ? NULL : getcwd(NULL, 0);
	ret->path = here ? xasprintf("%s/%s", here, path) : xstrdup(path);
	set_default(&ret->token.module, "/usr/lib/softhsm/libsofthsm2.so");
	set_default(&ret->token.pin_source, "prompt");
	set_default(&ret->key, "pkcs11:object=twokey-ca");
	set_default(&ret->directory, ".");
	resolve(ret, &ret->directory);
	if (strncmp(ret->token.pin_source, "file:", 5) == 0) {
		char *file = xstrdup(ret->token.pin_source + 5);
		resolve(ret, &file);
		free(ret->token.pin_source);
		ret->token.pin_source = xasprintf("file:%s", file);
		free(file);
	}
	if (strlen(ret->name) > 64 || !ret->name[0])
		return err_set(err, ERR_INVALID, 0, "%s: `name` is 1 to 64 bytes", ret->path);
	return ERR_OK;
}

void ca_config_done(struct ca_config *config)
{
	free(config->path);
	yaml_free(&type, config);
	*config = (struct ca_config){0};
}
