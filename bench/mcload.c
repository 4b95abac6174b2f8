/* mcload: a closed-loop load generator for memcached's text protocol.
 *
 *   cc -O2 -o mcload mcload.c
 *   mcload HOST PORT key=value...
 *
 *   conns=50      connections, each waiting for its reply before it asks again
 *   requests=N    requests in all
 *   keys=1        how many keys are in use: key00000000 and on
 *   pipeline=1    requests sent at once
 *   multiget=1    keys in one get
 *   sets=0        percentage of requests (or of batches) that are sets
 *   value=100     bytes of a value
 *   fill=1        store every key first
 *
 * Prints one line: requests per second, then microseconds a batch took: median and 99th
 * percentile. Replies are counted, not read: a get's reply is as long as its values make it,
 * so every key has to be there (fill), and a reply of another length ends the run.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { OUT_BYTES = 1 << 20, IN_BYTES = 1 << 18, KEY_BYTES = 11, CONNS_MAX = 1000, SAMPLES_MAX = 1 << 21 };

typedef struct { int fd; long want; double sent_at; } client;
typedef struct { long conns, requests, keys, pipeline, multiget, sets, value, fill; } plan;

static plan p = {50, 100000, 1, 1, 1, 0, 100, 1};
static char out[OUT_BYTES], in[IN_BYTES], *value;
static uint64_t dice = 88172645463325252ULL;

static void die(const char *why) {
    fprintf(stderr, "mcload: %s\n", why);
    exit(2);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static uint64_t roll(void) {
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return dice;
}

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void read_plan(int argc, char **argv) {
    struct { const char *name; long *at; } names[] = {
        {"conns", &p.conns}, {"requests", &p.requests}, {"keys", &p.keys}, {"pipeline", &p.pipeline},
        {"multiget", &p.multiget}, {"sets", &p.sets}, {"value", &p.value}, {"fill", &p.fill}};
    for (int i = 3; i < argc; i++) {
        char *eq = strchr(argv[i], '=');
        size_t n, found = 0;
        if (!eq) die("options are name=number");
        for (n = 0; n < sizeof names / sizeof *names; n++)
            if (strlen(names[n].name) == (size_t)(eq - argv[i]) && !strncmp(names[n].name, argv[i], eq - argv[i]))
                *names[n].at = atol(eq + 1), found = 1;
        if (!found) die("no such option");
    }
    if (p.conns < 1 || p.conns > CONNS_MAX) die("conns is 1 to 1000");
    if (p.keys < 1 || p.keys > 99999999 || p.value < 1 || p.value > 100000) die("keys or value out of range");
    if ((p.value + 64) * p.pipeline > OUT_BYTES || p.multiget * 12 * p.pipeline > OUT_BYTES - 64) die("batch too large");
}

static int dial(const char *host, int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (inet_pton(AF_INET, host, &at.sin_addr) != 1) die("host must be an IPv4 address");
    if (connect(fd, (void *)&at, sizeof at)) die("cannot connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void push(int fd, long size) {
    for (long done = 0; done < size;) {
        long n = write(fd, out + done, size - done);
        if (n <= 0) die("write failed");
        done += n;
    }
}

static long put_set(char *to, uint64_t key) {
    long n = sprintf(to, "set key%08lu 0 0 %ld\r\n", (unsigned long)key, p.value);
    memcpy(to + n, value, p.value);
    memcpy(to + n + p.value, "\r\n", 2);
    return n + p.value + 2;
}

static void fill(const char *host, int port) {
    int fd = dial(host, port);
    for (long key = 0; key < p.keys;) {
        long size = 0, count = 0;
        while (key < p.keys && count < 500 && size + p.value + 64 < OUT_BYTES) size += put_set(out + size, key++), count++;
        push(fd, size);
        for (long want = 8 * count; want > 0;) {
            long n = read(fd, in, IN_BYTES);
            if (n <= 0) die("closed while filling");
            want -= n;
        }
    }
    close(fd);
}

/* One batch: what it is made of decides how long its reply will be. */
static void ask(client *c) {
    static char head[64];
    static long hit = 0;
    long size = 0;
    if (!hit) hit = sprintf(head, "VALUE key00000000 0 %ld\r\n", p.value) + p.value + 2;
    c->want = 0;
    int setting = p.sets > 0 && (long)(roll() % 100) < p.sets;
    for (long i = 0; i < p.pipeline; i++) {
        if (setting) {
            size += put_set(out + size, roll() % p.keys);
            c->want += 8;
            continue;
        }
        memcpy(out + size, "get", 3), size += 3;
        for (long k = 0; k < p.multiget; k++) {
            uint64_t key = roll() % p.keys;
            memcpy(out + size, " key", 4);
            for (int d = 7; d >= 0; d--, key /= 10) out[size + 4 + d] = '0' + key % 10;
            size += 12, c->want += hit;
        }
        memcpy(out + size, "\r\n", 2), size += 2;
        c->want += 5;
    }
    c->sent_at = now();
    push(c->fd, size);
}

int main(int argc, char **argv) {
    if (argc < 3) die("usage: mcload HOST PORT [name=number ...]");
    read_plan(argc, argv);
    value = malloc(p.value);
    memset(value, 'v', p.value);
    if (p.fill) fill(argv[1], atoi(argv[2]));
    client *all = calloc(p.conns, sizeof *all);
    float *took = malloc(SAMPLES_MAX * sizeof *took);
    long samples = 0, asked = 0, open_batches = 0;
    int ep = epoll_create1(0);
    for (long i = 0; i < p.conns; i++) {
        all[i].fd = dial(argv[1], atoi(argv[2]));
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &all[i]};
        epoll_ctl(ep, EPOLL_CTL_ADD, all[i].fd, &e);
    }
    double start = now();
    for (long i = 0; i < p.conns; i++) ask(&all[i]), asked += p.pipeline, open_batches++;
    while (open_batches) {
        struct epoll_event ready[CONNS_MAX];
        int n = epoll_wait(ep, ready, CONNS_MAX, 10000);
        if (n <= 0) die("no reply for ten seconds: a key was missing, or the server is stuck");
        for (int i = 0; i < n; i++) {
            client *c = ready[i].data.ptr;
            long got = read(c->fd, in, IN_BYTES);
            if (got <= 0) die("the server closed");
            if ((c->want -= got) > 0) continue;
            if (c->want < 0) die("a reply was longer than it should be");
            if (samples < SAMPLES_MAX) took[samples++] = (now() - c->sent_at) * 1e6;
            open_batches--;
            if (asked < p.requests) ask(c), asked += p.pipeline, open_batches++;
        }
    }
    double seconds = now() - start;
    qsort(took, samples, sizeof *took, by_size);
    printf("%.0f %.0f %.0f\n", asked / seconds, took[samples / 2], took[samples * 99 / 100]);
    return 0;
}
