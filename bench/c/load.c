/* Many readers of event streams in one thread: counts their events and checks that the numbers of each have no gap.
 *
 * usage: load PORT REQUESTS
 * Each line of the file REQUESTS is "<generation> <path> <header>" ("-" for no header); each becomes a connection.
 *
 * Prints "ready" when every connection has its first body bytes (or its header), then the JSON of marks.h for every
 * line on stdin, and once more when stdin closes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "marks.h"

struct reader {
    int fd;
    struct line line;
};

static struct reader *readers;
static int count, opened, begun, broken, refused;
static long received;

static long *next_of(struct line *line, long generation)
{
    return generation == line->generation ? &line->next : NULL;
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
    if (r->line.begun) return;
    r->line.begun = 1;
    begun++;
    if (!strstr(data, " 200 ")) refused++;
}

int main(int argc, char **argv)
{
    if (argc != 3) return 2;
    struct rlimit files = {1 << 20, 1 << 20};
    setrlimit(RLIMIT_NOFILE, &files);
    int port = atoi(argv[1]), poll = epoll_create1(0), told = 0;
    FILE *requests = fopen(argv[2], "r");
    static char line[8192], request[9000], buffer[LONGEST_READ + 1];
    readers = calloc(100000, sizeof *readers);
    struct epoll_event events[512], in = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poll, EPOLL_CTL_ADD, 0, &in);
    int more = 1;
    for (;;) {
        /* At most 100 connections are being opened at once, so that no server's backlog decides the result. */
        while (more && opened - begun - broken < 100) {
            if (!fgets(line, sizeof line, requests)) { more = 0; break; }
            static char path[2048], header[6000];
            struct reader *r = &readers[count];
            if (sscanf(line, "%d %2047s %5999[^\n]", &r->line.generation, path, header) != 3) return 3;
            r->fd = dial(port);
            if (r->fd < 0) { fprintf(stderr, "nobody listens on %d\n", port); return 5; }
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
                int ended = read(0, buffer, 64) <= 0;
                report(count, refused, broken, received);
                if (ended) return 0;
                continue;
            }
            int got = read(r->fd, buffer, LONGEST_READ);
            if (got <= 0) {
                if (got < 0 && errno == EAGAIN) continue;
                broken++;
                close(r->fd);
                continue;
            }
            buffer[got] = 0;
            received += got;
            begin(r, buffer);
            scan(&r->line, buffer, got, now_ns());
        }
    }
}
