/* A walk over the wire form, guided by a small table of google/protobuf/descriptor.proto: which fields hold named
 * things, and where names nest. */
#include "rpc/descriptors.h"

#include <stdlib.h>

struct entry {
	char *name;
	struct span file;
};

struct index {
	struct entry *entries;
	size_t n, cap;
};

struct rpc_descriptors {
	struct index files, symbols;
};

/* ---- the wire form ---- */

struct field {
	uint32_t number;
	struct span bytes; /* of a length-delimited field; empty otherwise */
};

static bool take_varint(struct span *from, uint64_t *ret)
{
	uint64_t value = 0;
	for (unsigned shift = 0; shift < 64 && from->len > 0; shift += 7) {
		uint8_t byte = *from->ptr;
		from->ptr++;
		from->len--;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*ret = value;
			return true;
		}
	}
	return false;
}

static bool skip(struct span *from, size_t len)
{
	if (len > from->len)
		return false;
	from->ptr += len;
	from->len -= len;
	return true;
}

static bool take_field(struct span *from, struct field *ret)
{
	uint64_t key, value;
	if (!take_varint(from, &key) || key >> 3 > UINT32_MAX)
		return false;
	*ret = (struct field){.number = (uint32_t)(key >> 3)};
	switch (key & 7) {
	case 0:
		return take_varint(from, &value);
	case 1:
		return skip(from, 8);
	case 2:
		if (!take_varint(from, &value) || value > from->len)
			return false;
		ret->bytes = span_of(from->ptr, (size_t)value);
		return skip(from, (size_t)value);
	case 5:
		return skip(from, 4);
	default:
		return false;
	}
}

static struct span find_field(struct span message, uint32_t number)
{
	struct field field;
	while (message.len > 0 && take_field(&message, &field))
		if (field.number == number)
			return field.bytes;
	return (struct span){0};
}

/* ---- names ---- */

enum kind { KIND_FILE, KIND_MESSAGE, KIND_ENUM, KIND_SERVICE, KIND_LEAF };

/* Which field of what holds things of which kind, by descriptor.proto. The values of an enum are named beside it, not
 * inside it. */
static const struct child {
	enum kind parent;
	uint32_t field;
	enum kind kind;
	bool beside;
} children[] = {
    {KIND_FILE, 4, KIND_MESSAGE, false}, {KIND_FILE, 5, KIND_ENUM, false},    {KIND_FILE, 6, KIND_SERVICE, false},
    {KIND_FILE, 7, KIND_LEAF, false},    {KIND_MESSAGE, 2, KIND_LEAF, false}, {KIND_MESSAGE, 3, KIND_MESSAGE, false},
    {KIND_MESSAGE, 4, KIND_ENUM, false}, {KIND_MESSAGE, 6, KIND_LEAF, false}, {KIND_MESSAGE, 8, KIND_LEAF, false},
    {KIND_ENUM, 2, KIND_LEAF, true},     {KIND_SERVICE, 2, KIND_LEAF, false},
};

#define N_CHILDREN (sizeof(children) / sizeof(children[0]))
#define NEST_MAX   32

static void index_add(struct index *index, char *name, struct span file)
{
	if (index->n == index->cap) {
		size_t cap = index->cap ? 2 * index->cap : 64;
		struct entry *entries = xcalloc(cap, sizeof(entries[0]));
		if (index->n > 0)
			memcpy(entries, index->entries, index->n * sizeof(entries[0]));
		free(index->entries);
		index->entries = entries;
		index->cap = cap;
	}
	index->entries[index->n++] = (struct entry){name, file};
}

static char *join(const char *scope, struct span name)
{
	return xasprintf("%s%s%.*s", scope, scope[0] ? "." : "", (int)name.len, (const char *)name.ptr);
}

static bool walk(struct index *symbols, struct span file, enum kind kind, struct span body, const char *outer,
                 const char *scope, int depth)
{
	struct field field;
	while (body.len > 0) {
		if (depth > NEST_MAX || !take_field(&body, &field))
			return false;
		for (size_t i = 0; i < N_CHILDREN; i++) {
			if (children[i].parent != kind || children[i].field != field.number)
				continue;
			char *name = join(children[i].beside ? outer : scope, find_field(field.bytes, 1));
			index_add(symbols, name, file);
			if (children[i].kind != KIND_LEAF &&
			    !walk(symbols, file, children[i].kind, field.bytes, scope, name, depth + 1))
				return false;
		}
	}
	return true;
}

static bool add_file(struct rpc_descriptors *descriptors, struct span file)
{
	struct span name = find_field(file, 1);
	struct span package = find_field(file, 2);
	if (name.len == 0)
		return false;
	index_add(&descriptors->files, join("", name), file);
	autofree char *scope = join("", package);
	return walk(&descriptors->symbols, file, KIND_FILE, file, scope, scope, 0);
}

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static void index_sort(struct index *index)
{
	if (index->n > 0)
		qsort(index->entries, index->n, sizeof(index->entries[0]), compare);
}

enum err_code rpc_descriptors_new(struct span set, struct rpc_descriptors **ret, struct err *err)
{
	struct rpc_descriptors *descriptors = xcalloc(1, sizeof(*descriptors));
	while (set.len > 0) {
		struct field field;
		if (!take_field(&set, &field) || field.number != 1 || !add_file(descriptors, field.bytes)) {
			rpc_descriptors_free(descriptors);
			return err_set(err, ERR_INVALID, 0, "the descriptors are no FileDescriptorSet");
		}
	}
	index_sort(&descriptors->files);
	index_sort(&descriptors->symbols);
	*ret = descriptors;
	return ERR_OK;
}

static void index_done(struct index *index)
{
	for (size_t i = 0; i < index->n; i++)
		free(index->entries[i].name);
	free(index->entries);
}

void rpc_descriptors_free(struct rpc_descriptors *descriptors)
{
	if (!descriptors)
		return;
	index_done(&descriptors->files);
	index_done(&descriptors->symbols);
	free(descriptors);
}

static struct span find(const struct index *index, const char *name)
{
	struct entry key = {.name = (char *)name};
	if (index->n == 0)
		return (struct span){0};
	const struct entry *found = bsearch(&key, index->entries, index->n, sizeof(index->entries[0]), compare);
	return found ? found->file : (struct span){0};
}

struct span rpc_descriptors_file(const struct rpc_descriptors *descriptors, const char *name)
{
	return find(&descriptors->files, name);
}

struct span rpc_descriptors_symbol(const struct rpc_descriptors *descriptors, const char *symbol)
{
	return find(&descriptors->symbols, symbol);
}
