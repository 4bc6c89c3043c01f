/* The floor: the least code that can relay Redis pub/sub to event streams. One thread, one subscription, direct sends.
 *
 * usage: hub PORT REDIS_PORT PASSWORD CHANNEL_PREFIX
 * GET /<generation> gets the messages published on <CHANNEL_PREFIX><generation>…: "<id> <payload>". There is no
 * authorisation, id, heartbeat, slow reader or replay: the ratio to the product shows the cost of these.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { GENERATIONS = 4096, INBOX = 1 << 22 };

struct group { int *fds, count, room; };

static struct group groups[GENERATIONS];
static char inbox[INBOX];
static int filled, redis, listener, prefix_length;

static int dial(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to)) { perror("connect"); exit(1); }
    return fd;
}

static int listen_on(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, "127.0.0.1", &at.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 1024)) { perror("listen"); exit(1); }
    return fd;
}

static void join(int fd)
{
    char request[8192];
    int got = read(fd, request, sizeof request - 1);
    int generation = got > 5 ? atoi(request + 5) : -1;
    if (generation < 0 || generation >= GENERATIONS) { close(fd); return; }
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    if (write(fd, head, sizeof head - 1) < 0) return;
    struct group *g = &groups[generation];
    if (g->count == g->room) g->fds = realloc(g->fds, (g->room = g->room ? g->room * 2 : 4) * sizeof(int));
    g->fds[g->count++] = fd;
}

static void deliver(int generation, const char *payload, int length)
{
    static char chunk[70000];
    const char *space = memchr(payload, ' ', length);
    if (!space || length > 60000) return;
    int id = space - payload, text = length - id - 1, frame = 6 + text + 5 + id + 2;
    char *to = chunk + sprintf(chunk, "%x\r\ndata: ", frame);
    memcpy(to, space + 1, text);
    to = stpcpy(to + text, "\nid: ");
    memcpy(to, payload, id);
    to = stpcpy(to + id, "\n\n\r\n");
    struct group *g = &groups[generation];
    for (int i = 0; i < g->count; i++)
        if (send(g->fds[i], chunk, to - chunk, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) { /* a floor has no slow readers */ }
}

/* The start of the bulk string at *at, which moves behind it; NULL when a part of the string is missing. */
static char *bulk(char **at, char *end, int *length)
{
    char *line = memchr(*at, '\n', end - *at);
    if (!line) return NULL;
    *length = atoi(*at + 1);
    if (line + 1 + *length + 2 > end) return NULL;
    *at = line + 1 + *length + 2;
    return line + 1;
}

static void hear(void)
{
    int got = read(redis, inbox + filled, INBOX - filled);
    if (got <= 0) exit(1);
    filled += got;
    char *at = inbox, *end = inbox + filled;
    for (;;) {
        char *begin = at;
        if (at < end && *at != '*') { /* +OK, or the number behind psubscribe */
            char *line = memchr(at, '\n', end - at);
            if (!line) break;
            at = line + 1;
            continue;
        }
        char *line = at < end ? memchr(at, '\n', end - at) : NULL;
        if (!line) break;
        int parts = atoi(at + 1), length, channel_length, kind_length;
        at = line + 1;
        char *kind = bulk(&at, end, &kind_length);
        if (!kind || !bulk(&at, end, &length)) { at = begin; break; }
        if (parts == 3) continue; /* psubscribe: its number follows as a line */
        char *channel = bulk(&at, end, &channel_length);
        char *payload = channel ? bulk(&at, end, &length) : NULL;
        if (!payload) { at = begin; break; }
        deliver(atoi(channel + prefix_length), payload, length);
    }
    filled = end - at;
    memmove(inbox, at, filled);
}

int main(int argc, char **argv)
{
    if (argc != 5) return 2;
    struct rlimit files = {1 << 20, 1 << 20};
    setrlimit(RLIMIT_NOFILE, &files);
    listener = listen_on(atoi(argv[1]));
    redis = dial(atoi(argv[2]));
    prefix_length = strlen(argv[4]);
    dprintf(redis, "AUTH %s\r\nPSUBSCRIBE %s*\r\n", argv[3], argv[4]);
    int poll = epoll_create1(0), on = 1;
    struct epoll_event events[256], e = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &e);
    e.data.fd = redis;
    epoll_ctl(poll, EPOLL_CTL_ADD, redis, &e);
    for (;;) {
        int n = epoll_wait(poll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == redis) { hear(); continue; }
            int fd = accept(listener, NULL, NULL);
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            join(fd);
        }
    }
}
