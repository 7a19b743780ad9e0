/* writer NAME DEVICE-A OFFSET-A DEVICE-B OFFSET-B SLOTS: numbered 4 KiB records in strict order over two disks.
 *
 * Odd records go to A, even ones to B, each with O_DIRECT and O_SYNC, the next only when the last is acknowledged;
 * record n is in slot ((n - 1) / 2) mod SLOTS of its side. So at any instant the two disks hold a prefix 1..M. At the
 * start the writer reads what is there, says whether it is a prefix, and goes on behind it (or starts anew).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIZE = 4096, WORDS = SIZE / 8 - 4, BATCH = 1 << 20 };

struct record {
    char magic[8];
    char name[8];
    uint64_t number;
    uint64_t first; /* the number at which this history began */
    uint64_t filling[WORDS];
};

static int disk[2];
static uint64_t offset[2], slots, *found[2];
static const char *name;
static struct record *record;
static char *batch;

static int side(uint64_t n) { return n % 2 == 0; }
static uint64_t slot(uint64_t n) { return (n - 1) / 2 % slots; }

static int whole(const struct record *r) {
    if (memcmp(r->magic, "TESTBED1", 8) || strncmp(r->name, name, 8)) return 0;
    for (int i = 0; i < WORDS; i++)
        if (r->filling[i] != r->number) return 0;
    return 1;
}

static void scan(uint64_t *last, uint64_t *first) {
    for (int s = 0; s < 2; s++)
        for (uint64_t at = 0; at < slots * SIZE; at += BATCH) {
            if (pread(disk[s], batch, BATCH, offset[s] + at) != BATCH) exit(2);
            for (int i = 0; i < BATCH / SIZE; i++) {
                const struct record *r = (const struct record *)(batch + i * SIZE);
                if (!whole(r)) continue;
                found[s][at / SIZE + i] = r->number;
                if (r->number > *last) *last = r->number, *first = r->first;
            }
        }
}

static uint64_t holes(uint64_t last, uint64_t first) {
    uint64_t missing = 0, from = last > 2 * slots ? last - 2 * slots + 1 : 1;
    for (uint64_t n = from < first ? first : from; n <= last; n++) missing += found[side(n)][slot(n)] != n;
    return missing;
}

int main(int count, char **word) {
    if (count != 7) return 1;
    name = word[1], slots = strtoull(word[6], 0, 0);
    if (posix_memalign((void **)&record, SIZE, SIZE) || posix_memalign((void **)&batch, SIZE, BATCH)) return 1;
    for (int s = 0; s < 2; s++) {
        found[s] = calloc(slots, 8), offset[s] = strtoull(word[3 + 2 * s], 0, 0);
        if ((disk[s] = open(word[2 + 2 * s], O_RDWR | O_DIRECT | O_SYNC)) < 0) return perror(word[2 + 2 * s]), 1;
    }
    uint64_t last = 0, first = 1;
    scan(&last, &first);
    uint64_t missing = holes(last, first);
    printf("WRITER %s found %llu records, %llu missing: %s\n", name, (unsigned long long)last,
           (unsigned long long)missing, missing ? "TORN" : "prefix");
    fflush(stdout);
    if (missing) first = last + 1;
    for (uint64_t n = last + 1;; n++) {
        memset(record, 0, SIZE);
        memcpy(record->magic, "TESTBED1", 8);
        strncpy(record->name, name, 8);
        record->number = n, record->first = first;
        for (int i = 0; i < WORDS; i++) record->filling[i] = n;
        if (pwrite(disk[side(n)], record, SIZE, offset[side(n)] + slot(n) * SIZE) != SIZE) return perror("write"), 1;
        if (n == last + 100) printf("WRITER %s runs\n", name), fflush(stdout);
    }
}
