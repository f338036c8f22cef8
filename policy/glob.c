#include "policy/glob.h"

#include <stdlib.h>

#include "policy/policy.h"

/* A position of the automaton and what it takes to go on from there. Position n_tokens accepts. */
enum token_kind {
	BYTE,   /* this byte */
	CLASS,  /* one byte of a set: an ASCII character, or the first byte of another one */
	MORE,   /* the further bytes of that other one */
	STAR,   /* any number of bytes other than '/' */
	ANY,    /* any number of bytes */
	DIRS,   /* `**` + '/' at the start of a segment: nothing, or ... */
	INSIDE, /* ... anything that ends in '/' */
};

struct token {
	uint8_t kind;
	uint8_t byte;
	bool universal; /* from here on everything is accepted */
	uint16_t set;
};

struct set {
	uint64_t bits[4];
};

struct policy_glob {
	struct token *tokens;
	size_t n_tokens;
	struct set *sets;
	size_t n_sets;
	uint8_t *literal; /* the bytes that every accepted text starts with: the leading BYTE tokens */
	size_t literal_len;
};

struct compiler {
	struct policy_glob *glob;
	const uint8_t *at;
	enum policy_glob_style style;
	bool segment_start;
	const char *why;
};

static void emit(struct compiler *compiler, enum token_kind kind, uint8_t byte, size_t set)
{
	compiler->glob->tokens[compiler->glob->n_tokens++] =
	    (struct token){.kind = (uint8_t)kind, .byte = byte, .set = (uint16_t)set};
	compiler->segment_start = compiler->style == POLICY_GLOB_PATH && kind == BYTE && byte == '/';
}

static bool set_has(const struct set *set, uint8_t byte)
{
	return set->bits[byte / 64] >> (byte % 64) & 1;
}

static void set_add(struct set *set, unsigned from, unsigned to)
{
	for (unsigned byte = from; byte <= to; byte++)
		set->bits[byte / 64] |= (uint64_t)1 << (byte % 64);
}

static void set_remove(struct set *set, uint8_t byte)
{
	set->bits[byte / 64] &= ~((uint64_t)1 << (byte % 64));
}

/* One character off a set. Continuation bytes start no character, so that `??` does not match one of two bytes. */
static void emit_set(struct compiler *compiler, struct set set)
{
	struct policy_glob *glob = compiler->glob;
	if (compiler->style == POLICY_GLOB_PATH)
		set_remove(&set, '/');
	set.bits[2] = 0; /* 0x80 .. 0xbf */
	if (!(set.bits[0] | set.bits[1] | set.bits[3]))
		compiler->why = "the class in brackets can match nothing";
	glob->sets[glob->n_sets] = set;
	emit(compiler, CLASS, 0, glob->n_sets++);
	emit(compiler, MORE, 0, 0);
}

static void compile_stars(struct compiler *compiler)
{
	size_t n = strspn((const char *)compiler->at, "*");
	bool start = compiler->segment_start;
	compiler->at += n;
	if (compiler->style == POLICY_GLOB_PATH && n == 1) {
		emit(compiler, STAR, 0, 0);
	} else if (start && *compiler->at == '/') {
		compiler->at++;
		emit(compiler, DIRS, 0, 0);
		emit(compiler, INSIDE, 0, 0);
		compiler->segment_start = true;
	} else {
		emit(compiler, ANY, 0, 0);
	}
}

/* One member of a class; 0 when there is none left to read or it is none. */
static uint8_t take_member(struct compiler *compiler)
{
	compiler->at += *compiler->at == '\\';
	uint8_t byte = *compiler->at;
	if (byte == 0)
		compiler->why = "the class in brackets is never closed";
	else if (byte >= 0x80)
		compiler->why = "a class in brackets lists ASCII characters only";
	if (compiler->why)
		return 0;
	compiler->at++;
	return byte;
}

static void take_range(struct compiler *compiler, struct set *set)
{
	uint8_t from = take_member(compiler), to = from;
	if (!compiler->why && compiler->at[0] == '-' && compiler->at[1] != ']') {
		compiler->at++;
		to = take_member(compiler);
	}
	if (compiler->why)
		return;
	if (from > to)
		compiler->why = "a range in brackets goes backwards";
	set_add(set, from, to);
}

static void compile_class(struct compiler *compiler)
{
	struct set set = {0};
	compiler->at++;
	bool negated = *compiler->at == '!' || *compiler->at == '^';
	compiler->at += negated;
	do {
		take_range(compiler, &set); /* a first ']' is a member */
	} while (!compiler->why && *compiler->at != ']');
	if (compiler->why)
		return;
	compiler->at++;
	for (size_t i = 0; negated && i < 4; i++)
		set.bits[i] = ~set.bits[i];
	emit_set(compiler, set);
}

static void compile_next(struct compiler *compiler)
{
	switch (*compiler->at) {
	case '*':
		compile_stars(compiler);
		return;
	case '?':
		compiler->at++;
		emit_set(compiler, (struct set){{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}});
		return;
	case '[':
		compile_class(compiler);
		return;
	case '\\':
		if (!*++compiler->at) {
			compiler->why = "a backslash at the end stands before nothing";
			return;
		}
		break;
	default:
		break;
	}
	emit(compiler, BYTE, *compiler->at++, 0);
}

static bool is_nullable(const struct token *token)
{
	return token->kind == MORE || token->kind == STAR || token->kind == ANY || token->kind == DIRS;
}

/* From the end: where nothing more must match, an ANY accepts everything, and so does a DIRS with a STAR after it. */
static void mark_universal(struct policy_glob *glob)
{
	bool star = false, any = false;
	for (size_t i = glob->n_tokens; i-- > 0;) {
		struct token *token = &glob->tokens[i];
		if (token->kind == INSIDE)
			continue; /* DIRS, before it, goes round it */
		if (!is_nullable(token))
			return;
		star = star || token->kind == STAR;
		any = any || token->kind == ANY || (token->kind == DIRS && star);
		token->universal = any;
	}
}

static void split_literal(struct policy_glob *glob)
{
	while (glob->literal_len < glob->n_tokens && glob->tokens[glob->literal_len].kind == BYTE)
		glob->literal_len++;
	glob->literal = xcalloc(glob->literal_len, 1);
	for (size_t i = 0; i < glob->literal_len; i++)
		glob->literal[i] = glob->tokens[i].byte;
}

struct policy_glob *policy_glob_new(const char *text, enum policy_glob_style style, const char **ret_why)
{
	size_t len = strlen(text), sets = 0;
	if (len > POLICY_GLOB_MAX) {
		*ret_why = "longer than 1024 bytes";
		return NULL;
	}
	for (const char *p = text; *p; p++)
		sets += *p == '[' || *p == '?';
	struct policy_glob *glob = xcalloc(1, sizeof *glob);
	glob->tokens = xcalloc(2 * len, sizeof *glob->tokens);
	glob->sets = xcalloc(sets, sizeof *glob->sets);

	struct compiler compiler = {
	    .glob = glob, .at = (const uint8_t *)text, .style = style, .segment_start = style == POLICY_GLOB_PATH};
	while (*compiler.at && !compiler.why)
		compile_next(&compiler);
	if (compiler.why) {
		*ret_why = compiler.why;
		policy_glob_free(glob);
		return NULL;
	}
	mark_universal(glob);
	split_literal(glob);
	return glob;
}

void policy_glob_free(struct policy_glob *glob)
{
	if (!glob)
		return;
	free(glob->tokens);
	free(glob->sets);
	free(glob->literal);
	free(glob);
}

/* The positions that the automaton may be in. */
struct states {
	uint64_t bits[(2 * POLICY_GLOB_MAX + 1 + 63) / 64];
	bool universal; /* one of them accepts whatever follows */
	bool none;
};

static bool has_state(const struct states *states, size_t i)
{
	return states->bits[i / 64] >> (i % 64) & 1;
}

/* Adds a position, and those that are reached from it without a byte. */
static void add_state(const struct policy_glob *glob, struct states *states, size_t i)
{
	states->none = false;
	while (!has_state(states, i)) {
		states->bits[i / 64] |= (uint64_t)1 << (i % 64);
		if (i == glob->n_tokens)
			return;
		const struct token *token = &glob->tokens[i];
		states->universal |= token->universal;
		if (!is_nullable(token))
			return;
		i++;
		if (token->kind == DIRS) {
			states->bits[i / 64] |= (uint64_t)1 << (i % 64);
			i++;
		}
	}
}

static void step_from(const struct policy_glob *glob, size_t i, uint8_t byte, struct states *next)
{
	if (i == glob->n_tokens)
		return;
	const struct token *token = &glob->tokens[i];
	bool stay = false, go = false;
	switch ((enum token_kind)token->kind) {
	case BYTE:
		go = byte == token->byte;
		break;
	case CLASS:
		go = set_has(&glob->sets[token->set], byte);
		break;
	case MORE:
		stay = (byte & 0xc0) == 0x80;
		break;
	case STAR:
		stay = byte != '/';
		break;
	case ANY:
		stay = true;
		break;
	case INSIDE:
		stay = true;
		go = byte == '/';
		break;
	case DIRS:
		break;
	}
	if (stay)
		add_state(glob, next, i);
	if (go)
		add_state(glob, next, i + 1);
}

static void clear_states(const struct policy_glob *glob, struct states *states)
{
	memset(states->bits, 0, (glob->n_tokens / 64 + 1) * sizeof states->bits[0]);
	states->universal = false;
	states->none = true;
}

static void step(const struct policy_glob *glob, const struct states *now, uint8_t byte, struct states *next)
{
	clear_states(glob, next);
	for (size_t word = 0; word <= glob->n_tokens / 64; word++)
		for (uint64_t left = now->bits[word]; left; left &= left - 1)
			step_from(glob, word * 64 + (size_t)__builtin_ctzll(left), byte, next);
}

/* Reads what comes after the literal start. Stops early when nothing can be, or cannot but be, accepted. */
static void run(const struct policy_glob *glob, struct span text, struct states *ret)
{
	struct states other, *now = ret, *next = &other;
	clear_states(glob, now);
	add_state(glob, now, glob->literal_len);
	for (size_t i = glob->literal_len; i < text.len && !now->universal && !now->none; i++) {
		step(glob, now, text.ptr[i], next);
		struct states *swap = now;
		now = next;
		next = swap;
	}
	if (now != ret) {
		memcpy(ret->bits, now->bits, (glob->n_tokens / 64 + 1) * sizeof ret->bits[0]);
		ret->universal = now->universal;
		ret->none = now->none;
	}
}

static bool starts_literally(const struct policy_glob *glob, struct span text)
{
	return text.len >= glob->literal_len &&
	       span_eq(span_of(text.ptr, glob->literal_len), span_of(glob->literal, glob->literal_len));
}

struct span policy_glob_start(const struct policy_glob *glob)
{
	return span_of(glob->literal, glob->literal_len);
}

bool policy_glob_accepts(const struct policy_glob *glob, struct span text)
{
	if (!starts_literally(glob, text))
		return false;
	if (glob->literal_len == glob->n_tokens)
		return text.len == glob->literal_len;
	struct states states;
	run(glob, text, &states);
	return states.universal || has_state(&states, glob->n_tokens);
}

bool policy_glob_covers(const struct policy_glob *glob, struct span prefix)
{
	if (!starts_literally(glob, prefix))
		return false;
	struct states states;
	run(glob, prefix, &states);
	return states.universal;
}

bool policy_glob_overlaps(const struct policy_glob *glob, struct span prefix)
{
	if (prefix.len <= glob->literal_len)
		return span_eq(prefix, span_of(glob->literal, prefix.len));
	if (!starts_literally(glob, prefix))
		return false;
	struct states states;
	run(glob, prefix, &states);
	return !states.none;
}

bool policy_glob_match(const char *glob, const char *text)
{
	const char *why;
	struct policy_glob *compiled = policy_glob_new(glob, POLICY_GLOB_PATH, &why);
	bool matches = compiled && policy_glob_accepts(compiled, span_str(text));
	policy_glob_free(compiled);
	return matches;
}
