/* Runs a fuzz target over the files of the folders and paths given: the corpus as a plain test. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	if (!file) {
		perror(path);
		return 1;
	}
	/* An exact-size heap copy, so that ASan sees a read beyond the end. */
	static uint8_t whole[8 << 20];
	size_t len = fread(whole, 1, sizeof whole, file);
	fclose(file);
	uint8_t *copy = malloc(len ? len : 1);
	for (size_t i = 0; i < len; i++)
		copy[i] = whole[i];
	LLVMFuzzerTestOneInput(copy, len);
	free(copy);
	return 0;
}

static int replay_folder(const char *path, int *count)
{
	DIR *dir = opendir(path);
	if (!dir) {
		perror(path);
		return 1;
	}
	int failed = 0;
	for (struct dirent *entry; (entry = readdir(dir));) {
		if (entry->d_name[0] == '.')
			continue;
		char name[4096];
		snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
		failed |= replay_file(name);
		++*count;
	}
	closedir(dir);
	return failed;
}

int main(int argc, char **argv)
{
	int failed = 0, count = 0;
	for (int i = 1; i < argc; i++) {
		struct stat st;
		if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode)) {
			failed |= replay_folder(argv[i], &count);
		} else {
			failed |= replay_file(argv[i]);
			count++;
		}
	}
	printf("%d inputs replayed\n", count);
	return failed || count == 0;
}
