/* Counts marks in received bytes: ~<generation>:<number>:<CLOCK_MONOTONIC ns>~ somewhere in an event's text.
 *
 * The including file defines next_of: a pointer to the next number expected of a generation, NULL for a generation that
 * does not belong on this line.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { CARRY = 96, BUCKETS = 200000, LONGEST_READ = 65536 };

/* One connection, with the part of a mark that the end of the last read cut off. */
struct line {
    int generation, begun, carried;
    long next;
    char carry[CARRY];
};

static long *next_of(struct line *line, long generation);

static long delivered, gaps, repeats, foreign, slowest;
static long histogram[BUCKETS + 1]; /* tens of microseconds */

static long now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void mark(struct line *line, const char *text, long now)
{
    long generation, number, sent, *next;
    if (sscanf(text, "%ld:%ld:%ld", &generation, &number, &sent) != 3) return;
    if (!(next = next_of(line, generation))) { foreign++; return; }
    if (number < *next) { repeats++; return; }
    if (number > *next) gaps += number - *next;
    *next = number + 1;
    delivered++;
    long us = (now - sent) / 1000, bucket = us / 10;
    if (us > slowest) slowest = us;
    histogram[bucket < 0 ? 0 : bucket < BUCKETS ? bucket : BUCKETS]++;
}

/* Finds the marks in the bytes of one read; a mark that is cut off is carried over to the next read. */
static void scan(struct line *line, const char *data, int length, long now)
{
    static char joined[CARRY + LONGEST_READ + 1];
    memcpy(joined, line->carry, line->carried);
    memcpy(joined + line->carried, data, length);
    length += line->carried;
    joined[length] = 0;
    line->carried = 0;
    char *at = joined;
    while ((at = memchr(at, '~', joined + length - at))) {
        char *end = memchr(at + 1, '~', joined + length - at - 1);
        if (!end) {
            int rest = joined + length - at;
            if (rest < CARRY) { memcpy(line->carry, at, rest); line->carried = rest; }
            return;
        }
        *end = 0;
        mark(line, at + 1, now);
        at = end + 1;
    }
}

static long percentile(double part)
{
    long seen = 0, wanted = delivered * part;
    for (int i = 0; i <= BUCKETS; i++)
        if ((seen += histogram[i]) > wanted) return i * 10;
    return slowest;
}

/* Prints one line of JSON; the delays are those since the last line. */
static void report(int connections, int refused, int broken, long bytes)
{
    static long before;
    long all = delivered;
    delivered -= before;
    printf("{\"connections\": %d, \"refused\": %d, \"delivered\": %ld, \"gaps\": %ld, \"repeats\": %ld, \"foreign\": %ld, "
           "\"broken\": %d, \"bytes\": %ld, \"p50_us\": %ld, \"p99_us\": %ld, \"max_us\": %ld}\n",
           connections, refused, all, gaps, repeats, foreign, broken, bytes, percentile(0.50), percentile(0.99), slowest);
    fflush(stdout);
    delivered = before = all;
    slowest = 0;
    memset(histogram, 0, sizeof histogram);
}
