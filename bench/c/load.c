/* Many readers of event streams in one thread: counts what arrives, checks that each stream's numbers follow.
 *
 * usage: load PORT REQUESTS
 * Each line of the file REQUESTS is "<generation> <path> <header>" ("-" for no header); each becomes a connection.
 * An event carries ~<generation>:<number>:<CLOCK_MONOTONIC ns>~ somewhere in its text.
 *
 * Prints "ready" when every connection has its first body bytes (or its header), then, when stdin closes, one line of
 * JSON: connections, refused, delivered, gaps, repeats, foreign, broken, bytes, p50_us, p99_us, max_us.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CARRY = 96, BUCKETS = 200000 };

struct reader {
    int fd, generation, begun, carried;
    long next;
    char carry[CARRY];
};

static struct reader *readers;
static int count, opened, begun, broken, refused;
static long delivered, gaps, repeats, foreign, received;
static long histogram[BUCKETS + 1]; /* tens of microseconds */
static long slowest;

static long now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void mark(struct reader *r, const char *text, long now)
{
    long generation, number, sent;
    if (sscanf(text, "%ld:%ld:%ld", &generation, &number, &sent) != 3) return;
    if (generation != r->generation) { foreign++; return; }
    if (number < r->next) { repeats++; return; }
    if (number > r->next) gaps += number - r->next;
    r->next = number + 1;
    delivered++;
    long us = (now - sent) / 1000, bucket = us / 10;
    if (us > slowest) slowest = us;
    histogram[bucket < 0 ? 0 : bucket < BUCKETS ? bucket : BUCKETS]++;
}

/* Finds the marks in what arrived; one that is cut off is carried over to the next read. */
static void scan(struct reader *r, char *data, int length, long now)
{
    char joined[CARRY + 65536 + 1];
    memcpy(joined, r->carry, r->carried);
    memcpy(joined + r->carried, data, length);
    length += r->carried;
    joined[length] = 0;
    r->carried = 0;
    char *at = joined;
    while ((at = memchr(at, '~', joined + length - at))) {
        char *end = memchr(at + 1, '~', joined + length - at - 1);
        if (!end) {
            int rest = joined + length - at;
            if (rest < CARRY) { memcpy(r->carry, at, rest); r->carried = rest; }
            return;
        }
        *end = 0;
        mark(r, at + 1, now);
        at = end + 1;
    }
}

static int dial(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    for (int tries = 0; tries < 200; tries++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0) {
            int on = 1;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            return fd;
        }
        close(fd);
        usleep(20000);
    }
    return -1;
}

static void begin(struct reader *r, const char *data)
{
    if (r->begun) return;
    r->begun = 1;
    begun++;
    if (!strstr(data, " 200 ")) refused++;
}

static long percentile(double part)
{
    long seen = 0, wanted = delivered * part;
    for (int i = 0; i <= BUCKETS; i++)
        if ((seen += histogram[i]) > wanted) return i * 10;
    return slowest;
}

int main(int argc, char **argv)
{
    if (argc != 3) return 2;
    struct rlimit files = {1 << 20, 1 << 20};
    setrlimit(RLIMIT_NOFILE, &files);
    int port = atoi(argv[1]), poll = epoll_create1(0), told = 0;
    FILE *requests = fopen(argv[2], "r");
    static char line[8192], request[9000], buffer[65536 + 1];
    readers = calloc(100000, sizeof *readers);
    struct epoll_event events[512], in = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poll, EPOLL_CTL_ADD, 0, &in);
    int more = 1;
    for (;;) {
        /* At most a hundred are on their way at once, so that no server's backlog decides the outcome. */
        while (more && opened - begun - broken < 100) {
            if (!fgets(line, sizeof line, requests)) { more = 0; break; }
            static char path[2048], header[6000];
            struct reader *r = &readers[count];
            if (sscanf(line, "%d %2047s %5999[^\n]", &r->generation, path, header) != 3) return 3;
            r->fd = dial(port);
            if (r->fd < 0) { refused++; continue; }
            int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n%s%s\r\n",
                                  path, strcmp(header, "-") ? header : "", strcmp(header, "-") ? "\r\n" : "");
            if (write(r->fd, request, length) != length) return 4;
            fcntl(r->fd, F_SETFL, O_NONBLOCK);
            struct epoll_event e = {.events = EPOLLIN, .data.ptr = r};
            epoll_ctl(poll, EPOLL_CTL_ADD, r->fd, &e);
            count++;
            opened++;
        }
        if (!more && !told && begun + broken >= opened) { printf("ready\n"); fflush(stdout); told = 1; }
        int n = epoll_wait(poll, events, 512, 100);
        for (int i = 0; i < n; i++) {
            struct reader *r = events[i].data.ptr;
            if (!r) {
                if (read(0, buffer, 1) <= 0) goto end;
                continue;
            }
            int got = read(r->fd, buffer, sizeof buffer - 1);
            if (got <= 0) {
                if (got < 0 && errno == EAGAIN) continue;
                broken++;
                close(r->fd);
                continue;
            }
            buffer[got] = 0;
            received += got;
            begin(r, buffer);
            scan(r, buffer, got, now_ns());
        }
    }
end:
    printf("{\"connections\": %d, \"refused\": %d, \"delivered\": %ld, \"gaps\": %ld, \"repeats\": %ld, \"foreign\": %ld, "
           "\"broken\": %d, \"bytes\": %ld, \"p50_us\": %ld, \"p99_us\": %ld, \"max_us\": %ld}\n",
           count, refused, delivered, gaps, repeats, foreign, broken, received, percentile(0.50), percentile(0.99), slowest);
    return 0;
}
