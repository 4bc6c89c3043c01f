/* Requests one path many times at once and measures the time until every reply has its last event.
 *
 * usage: fetch PORT PATH HEADER UNTIL AT_ONCE ROUNDS [MARK]
 * HEADER "-" for none. MARK is the text that is counted as an event, "data: " if none is given. Every request has a connection of its own; the time of connecting is part of its time. A request
 * ends when the text UNTIL has arrived. Prints one line of JSON: ms (of each round), events and bytes of one reply,
 * unequal (replies with another number of events than the first).
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

enum { ROOM = 1 << 21 };

struct reader { int fd, filled; char *data; };

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static int events_in(const char *data, int length, const char *mark)
{
    int found = 0, size = strlen(mark);
    for (const char *at = data; (at = memmem(at, data + length - at, mark, size)); at += size) found++;
    return found;
}

int main(int argc, char **argv)
{
    if (argc != 7 && argc != 8) return 2;
    int port = atoi(argv[1]), at_once = atoi(argv[5]), rounds = atoi(argv[6]), poll = epoll_create1(0), on = 1;
    const char *until = argv[4], *mark = argc == 8 ? argv[7] : "data: ";
    int tail = strlen(until), unequal = 0, first = -1, bytes = 0;
    struct rlimit files = {1 << 20, 1 << 20};
    setrlimit(RLIMIT_NOFILE, &files);
    struct reader *readers = calloc(at_once, sizeof *readers);
    for (int i = 0; i < at_once; i++) { readers[i].data = malloc(ROOM); memset(readers[i].data, 0, ROOM); }
    char request[9000];
    int size = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n%s%s\r\n",
                        argv[2], strcmp(argv[3], "-") ? argv[3] : "", strcmp(argv[3], "-") ? "\r\n" : "");
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    printf("{\"ms\": [");
    for (int round = 0; round < rounds; round++) {
        double began = now_ms();
        for (int i = 0; i < at_once; i++) {
            struct reader *r = &readers[i];
            r->filled = 0;
            r->fd = socket(AF_INET, SOCK_STREAM, 0);
            if (connect(r->fd, (struct sockaddr *)&to, sizeof to)) { perror("connect"); return 1; }
            setsockopt(r->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            if (write(r->fd, request, size) != size) return 3;
            fcntl(r->fd, F_SETFL, O_NONBLOCK);
            struct epoll_event e = {.events = EPOLLIN, .data.ptr = r};
            epoll_ctl(poll, EPOLL_CTL_ADD, r->fd, &e);
        }
        int left = at_once;
        while (left) {
            struct epoll_event events[128];
            int n = epoll_wait(poll, events, 128, 60000);
            if (!n) { fprintf(stderr, "nothing came for a minute\n"); return 4; }
            for (int i = 0; i < n; i++) {
                struct reader *r = events[i].data.ptr;
                int got = read(r->fd, r->data + r->filled, ROOM - r->filled);
                if (got < 0 && errno == EAGAIN) continue;
                if (got <= 0) {
                    fprintf(stderr, "it ended after %d bytes: %.300s\n", r->filled, r->data);
                    return 5;
                }
                int from = r->filled > tail ? r->filled - tail : 0;
                r->filled += got;
                if (!memmem(r->data + from, r->filled - from, until, tail)) continue;
                epoll_ctl(poll, EPOLL_CTL_DEL, r->fd, NULL);
                left--;
            }
        }
        printf("%s%.3f", round ? ", " : "", now_ms() - began);
        for (int i = 0; i < at_once; i++) {
            int count = events_in(readers[i].data, readers[i].filled, mark);
            if (first < 0) first = count;
            unequal += count != first;
            bytes = readers[i].filled;
            close(readers[i].fd);
        }
        usleep(20000);
    }
    printf("], \"events\": %d, \"bytes\": %d, \"unequal\": %d}\n", first, bytes, unequal);
    return 0;
}
