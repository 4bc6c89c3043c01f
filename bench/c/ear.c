/* A subscriber of Redis that counts the marks in the messages it receives: it measures number and delay of the tokens
 * of any worker.
 *
 * usage: ear REDIS_PORT PASSWORD PATTERN
 *
 * Prints "ready" when it is subscribed, then the JSON of marks.h for every line on stdin, and once more when stdin
 * closes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "marks.h"

enum { GENERATIONS = 100000 };

static long next[GENERATIONS];

static long *next_of(struct line *line, long generation)
{
    (void)line;
    return generation >= 0 && generation < GENERATIONS ? &next[generation] : NULL;
}

int main(int argc, char **argv)
{
    if (argc != 4) return 2;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    int redis = socket(AF_INET, SOCK_STREAM, 0), poll = epoll_create1(0), ready = 0;
    if (connect(redis, (struct sockaddr *)&to, sizeof to)) { perror("connect"); return 1; }
    dprintf(redis, "AUTH %s\r\nPSUBSCRIBE %s\r\n", argv[2], argv[3]);
    static char buffer[LONGEST_READ];
    static struct line line;
    long received = 0;
    struct epoll_event events[2], e = {.events = EPOLLIN, .data.fd = 0};
    epoll_ctl(poll, EPOLL_CTL_ADD, 0, &e);
    e.data.fd = redis;
    epoll_ctl(poll, EPOLL_CTL_ADD, redis, &e);
    for (;;) {
        int n = epoll_wait(poll, events, 2, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == 0) {
                int ended = read(0, buffer, 64) <= 0;
                report(1, 0, 0, received);
                if (ended) return 0;
                continue;
            }
            int got = read(redis, buffer, sizeof buffer);
            if (got <= 0) return 3;
            received += got;
            if (!ready && memmem(buffer, got, "psubscribe", 10)) { ready = 1; printf("ready\n"); fflush(stdout); }
            scan(&line, buffer, got, now_ns());
        }
    }
}
