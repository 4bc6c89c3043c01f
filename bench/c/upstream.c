/* A model's server: answers chat completions as OpenAI does, one chunk and one packet per token, at a steady rate.
 *
 * usage: upstream PORT RATE TOKENS TEXT
 * TEXT "marks": each token carries the mark of marks.h; "words": English-like words, as compressible as real text.
 * An answer's generation is the number behind "answer number " in the request.
 *
 * No token is sent before the line "go" on stdin; later answers begin at once. Every other line on stdin prints JSON:
 * waiting (answers begun), said (tokens), ended (answers).
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

enum { CONNECTIONS = 20000, REQUEST = 1 << 16, VOCABULARY = 4096 };

struct answer {
    int fd, speaking, filled, left;
    long generation, number, begin;
    unsigned long seed;
    char *request, rest[2048];
};

static struct answer answers[CONNECTIONS];
static char vocabulary[VOCABULARY][12];
static int open_now, begun, ended, highest;
static long said, tokens, began_ns;
static double rate;
static int words;

static long now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static unsigned draw(unsigned long *seed)
{
    *seed = *seed * 6364136223846793005UL + 1442695040888963407UL;
    return *seed >> 33;
}

/* Words of one to four syllables. */
static void learn(void)
{
    static const char *begin[] = {"b", "c", "d", "f", "g", "l", "m", "n", "p", "r", "s", "t", "st", "th", "w", "h"};
    static const char *middle[] = {"a", "e", "i", "o", "u", "ea", "io", "ou"};
    unsigned long seed = 7;
    for (int i = 0; i < VOCABULARY; i++)
        for (int syllables = 1 + draw(&seed) % 3; syllables && strlen(vocabulary[i]) < 7; syllables--) {
            strcat(vocabulary[i], begin[draw(&seed) % 16]);
            strcat(vocabulary[i], middle[draw(&seed) % 8]);
        }
}

/* Few words make up most of a text: the cube of an even draw is near enough to that. */
static const char *word(struct answer *a)
{
    double even = (draw(&a->seed) & 0xffffff) / (double)0x1000000;
    return vocabulary[(int)(even * even * even * VOCABULARY)];
}

/* Sends the bytes that a full socket has not taken yet; returns 0 while some are left. */
static int catch_up(struct answer *a)
{
    if (!a->left) return 1;
    int sent = write(a->fd, a->rest, a->left);
    if (sent > 0) memmove(a->rest, a->rest + sent, a->left -= sent);
    return !a->left;
}

static void say(struct answer *a, const char *json)
{
    char chunk[2048], body[1900];
    int length = snprintf(body, sizeof body, "data: %s\n\n", json);
    int size = snprintf(chunk, sizeof chunk, "%x\r\n%s\r\n", length, body);
    int sent = write(a->fd, chunk, size);
    if (sent < 0 && errno != EAGAIN) { close(a->fd); a->fd = -1; a->speaking = 0; return; }
    if (sent < 0) sent = 0;
    memcpy(a->rest, chunk + sent, a->left = size - sent);
}

static void token(struct answer *a)
{
    char json[1024], text[200];
    if (words) snprintf(text, sizeof text, " %s", word(a));
    else snprintf(text, sizeof text, " w~%ld:%ld:%ld~", a->generation, a->number, now_ns());
    snprintf(json, sizeof json,
             "{\"id\":\"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT\",\"object\":\"chat.completion.chunk\",\"created\":1741569952,"
             "\"model\":\"bench\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_44709d6fcb\",\"choices\":[{\"index\":0,"
             "\"delta\":{\"content\":\"%s\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}", text);
    say(a, json);
    a->number++;
    said++;
}

/* Sends the end of an answer in one piece. */
static void finish(struct answer *a)
{
    static const char stop[] =
        "data: {\"id\":\"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT\",\"object\":\"chat.completion.chunk\",\"created\":1741569952,"
        "\"model\":\"bench\",\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":null}";
    char body[1500], chunk[1600];
    int length = snprintf(body, sizeof body,
                          "%s\n\ndata: {\"id\":\"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT\",\"object\":\"chat.completion.chunk\","
                          "\"created\":1741569952,\"model\":\"bench\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,"
                          "\"completion_tokens\":%ld,\"total_tokens\":%ld}}\n\ndata: [DONE]\n\n", stop, a->number, a->number + 9);
    int size = snprintf(chunk, sizeof chunk, "%x\r\n%s\r\n0\r\n\r\n", length, body);
    if (write(a->fd, chunk, size) != size) { close(a->fd); a->fd = -1; }
    a->speaking = 0;
    ended++;
}

static void answer(struct answer *a, const char *body)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n";
    const char *number = strstr(body, "answer number ");
    a->generation = number ? atol(number + 14) : begun;
    a->number = a->left = 0;
    a->seed = a->generation * 2654435761UL + 99;
    a->speaking = 1;
    /* The answers' tokens are spread over the interval, so that they are never one burst. */
    a->begin = (open_now ? now_ns() : 0) + (long)(1e9 / rate * (begun % 997) / 997.0);
    begun++;
    if (write(a->fd, head, sizeof head - 1) < 0) return;
    say(a, "{\"id\":\"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT\",\"object\":\"chat.completion.chunk\",\"created\":1741569952,"
           "\"model\":\"bench\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,"
           "\"finish_reason\":null}],\"usage\":null}");
}

static void hear(struct answer *a)
{
    int got = read(a->fd, a->request + a->filled, REQUEST - 1 - a->filled);
    if (got <= 0) {
        if (got < 0 && errno == EAGAIN) return;
        close(a->fd);
        a->fd = -1;
        a->speaking = 0;
        return;
    }
    a->filled += got;
    a->request[a->filled] = 0;
    char *body = strstr(a->request, "\r\n\r\n");
    if (!body) return;
    body += 4;
    if (!strncmp(a->request, "GET", 3)) {
        static const char models[] = "{\"object\":\"list\",\"data\":[{\"id\":\"bench\",\"object\":\"model\"}]}";
        dprintf(a->fd, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                sizeof models - 1, models);
        a->filled = 0;
        return;
    }
    char *length = strcasestr(a->request, "content-length:");
    if (!length || a->filled < body - a->request + atoi(length + 15)) return;
    a->filled = 0;
    answer(a, body);
}

static void speak(void)
{
    long now = now_ns();
    for (int i = 0; i < highest; i++) {
        struct answer *a = &answers[i];
        if (!a->speaking) continue;
        long since = a->begin < began_ns ? began_ns + a->begin : a->begin;
        while (a->speaking && a->number < tokens && catch_up(a) && since + (long)(a->number * 1e9 / rate) <= now) token(a);
        if (a->speaking && a->number >= tokens && catch_up(a)) finish(a);
    }
}

int main(int argc, char **argv)
{
    if (argc != 5) return 2;
    struct rlimit files = {1 << 20, 1 << 20};
    setrlimit(RLIMIT_NOFILE, &files);
    rate = atof(argv[2]);
    tokens = atol(argv[3]);
    words = !strcmp(argv[4], "words");
    learn();
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1, poll = epoll_create1(0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    inet_pton(AF_INET, "127.0.0.1", &at.sin_addr);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 4096)) { perror("listen"); return 1; }
    struct epoll_event events[256], e = {.events = EPOLLIN, .data.u64 = CONNECTIONS};
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &e);
    e.data.u64 = CONNECTIONS + 1;
    epoll_ctl(poll, EPOLL_CTL_ADD, 0, &e);
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(poll, events, 256, open_now ? 1 : -1);
        for (int i = 0; i < n; i++) {
            unsigned long which = events[i].data.u64;
            if (which < CONNECTIONS) { if (answers[which].fd >= 0) hear(&answers[which]); continue; }
            if (which == CONNECTIONS) {
                int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK), slot = 0;
                if (fd < 0) continue;
                while (slot < highest && answers[slot].fd >= 0) slot++;
                if (slot >= CONNECTIONS) { close(fd); continue; }
                if (slot == highest) { answers[slot].request = malloc(REQUEST); highest++; }
                answers[slot].fd = fd;
                answers[slot].filled = answers[slot].speaking = 0;
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                e.data.u64 = slot;
                epoll_ctl(poll, EPOLL_CTL_ADD, fd, &e);
                continue;
            }
            char line[64] = "";
            if (read(0, line, sizeof line - 1) <= 0) return 0;
            if (!strncmp(line, "go", 2)) { open_now = 1; began_ns = now_ns(); }
            else { printf("{\"waiting\": %d, \"said\": %ld, \"ended\": %d}\n", begun, said, ended); fflush(stdout); }
        }
        if (open_now) speak();
    }
}
