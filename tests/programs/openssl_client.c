/* A TLS client on OpenSSL that writes a script, one SSL_write per entry.
 *
 *   openssl_client IP PORT SNI SCRIPT [ex|on|wait|parts|ktls|sendfile|write|threads=N]...
 *
 * ex         SSL_write_ex instead of SSL_write
 * on         a write that fails is said to be "refused", and the next one follows
 * wait       after the handshake print "connected" and wait for a line on standard input
 * parts      SSL_write may send a part, and is given the rest again and again
 * ktls       the kernel is asked to encrypt; print who does
 * sendfile   SSL_sendfile instead of SSL_write, which takes a kernel that encrypts
 * write      write(2) on the socket instead of SSL_write, which takes one, too
 * threads=N  N connections at once, each with every Nth part of the script
 *
 * A script is, for each write, a line with its length and then that many bytes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

struct chunk {
    char *bytes;
    size_t length;
};

static struct chunk *chunks;
static size_t chunk_count;
static const char *ip, *sni;
static int port, use_ex, go_on, wait_first, in_parts, kernel_tls, as_file, as_write;
static size_t threads = 1;

static void die(const char *what) {
    perror(what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static void read_script(const char *path) {
    FILE *file = fopen(path, "rb");
    size_t length;
    if (!file) die(path);
    while (fscanf(file, "%zu", &length) == 1) {
        if (fgetc(file) != '\n') die("script");
        chunks = realloc(chunks, (chunk_count + 1) * sizeof *chunks);
        char *bytes = malloc(length + 1);
        if (!chunks || !bytes) die("malloc");
        if (fread(bytes, 1, length, file) != length) die("script");
        chunks[chunk_count++] = (struct chunk){bytes, length};
    }
    fclose(file);
}

static int connect_to_server(void) {
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    int is_v4 = inet_pton(AF_INET, ip, &v4.sin_addr) == 1;
    if (!is_v4 && inet_pton(AF_INET6, ip, &v6.sin6_addr) != 1) die("address");
    int one = 1, fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM, 0);
    if (fd < 0) die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, is_v4 ? (void *)&v4 : (void *)&v6, is_v4 ? sizeof v4 : sizeof v6)) die("connect");
    return fd;
}

/* Through the TLS of the kernel, past the library. */
static void send_chunk(SSL *ssl, const struct chunk *chunk) {
    int file;
    if (as_write) {
        if (write(SSL_get_fd(ssl), chunk->bytes, chunk->length) != (ssize_t)chunk->length) die("write");
        return;
    }
    file = memfd_create("chunk", 0);
    if (file < 0 || write(file, chunk->bytes, chunk->length) != (ssize_t)chunk->length) die("file");
    if (SSL_sendfile(ssl, file, 0, chunk->length, 0) != (ssize_t)chunk->length) die("SSL_sendfile");
    close(file);
}

static void write_chunk(SSL *ssl, const struct chunk *chunk) {
    size_t written = 0;
    if (as_file || as_write) return send_chunk(ssl, chunk);
    for (size_t sent = 0; in_parts && sent < chunk->length;) {
        int part = SSL_write(ssl, chunk->bytes + sent, (int)(chunk->length - sent));
        if (part <= 0) die("SSL_write");
        sent += part;
    }
    if (in_parts) return;
    int result = use_ex ? SSL_write_ex(ssl, chunk->bytes, chunk->length, &written)
                        : SSL_write(ssl, chunk->bytes, (int)chunk->length);
    if (result == (use_ex ? 1 : (int)chunk->length)) return;
    /* A failure as it is documented, and an error that says so. */
    if (!go_on || result != (use_ex ? 0 : -1) || SSL_get_error(ssl, result) != SSL_ERROR_SSL) die("SSL_write");
    ERR_clear_error();
    puts("refused");
}

static void *client(void *argument) {
    SSL_CTX *context = argument;
    static size_t next_index;
    size_t index = __atomic_fetch_add(&next_index, 1, __ATOMIC_RELAXED);
    SSL *ssl = SSL_new(context);
    int fd = connect_to_server();
    char buffer[4096];

    if (!ssl || !SSL_set_fd(ssl, fd)) die("SSL_new");
    if (*sni) SSL_set_tlsext_host_name(ssl, sni);
    if (SSL_connect(ssl) != 1) die("SSL_connect");
    if (kernel_tls) {
        int kernel = BIO_get_ktls_send(SSL_get_wbio(ssl));
        puts(kernel ? "the kernel encrypts" : "OpenSSL encrypts");
        errno = EOPNOTSUPP;
        if (!kernel && (as_file || as_write)) die("TLS of the kernel");
    }
    if (wait_first) {
        puts("connected");
        fflush(stdout);
        if (!fgets(buffer, sizeof buffer, stdin)) die("stdin");
    }
    for (size_t i = index; i < chunk_count; i += threads) write_chunk(ssl, &chunks[i]);
    /* Whatever the server answers, until it has seen our end and closes. */
    SSL_shutdown(ssl);
    shutdown(fd, SHUT_WR);
    while (read(fd, buffer, sizeof buffer) > 0) {}
    close(fd);
    SSL_free(ssl);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc < 5) {
        fprintf(stderr, "usage: %s IP PORT SNI SCRIPT [ex|on|wait|parts|ktls|sendfile|write|threads=N]...\n", argv[0]);
        return 2;
    }
    ip = argv[1], port = atoi(argv[2]), sni = argv[3];
    read_script(argv[4]);
    for (int i = 5; i < argc; i++) {
        if (!strcmp(argv[i], "ex")) use_ex = 1;
        else if (!strcmp(argv[i], "on")) go_on = 1;
        else if (!strcmp(argv[i], "wait")) wait_first = 1;
        else if (!strcmp(argv[i], "parts")) in_parts = 1;
        else if (!strcmp(argv[i], "ktls")) kernel_tls = 1;
        else if (!strcmp(argv[i], "sendfile")) kernel_tls = as_file = 1;
        else if (!strcmp(argv[i], "write")) kernel_tls = as_write = 1;
        else if (!strncmp(argv[i], "threads=", 8)) threads = strtoul(argv[i] + 8, NULL, 10);
        else die(argv[i]);
    }
    signal(SIGPIPE, SIG_IGN);
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!context || threads == 0) die("SSL_CTX_new");
    if (in_parts) SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE);
    if (kernel_tls) SSL_CTX_set_options(context, SSL_OP_ENABLE_KTLS);
    pthread_t *handles = calloc(threads, sizeof *handles);
    for (size_t i = 0; i < threads; i++)
        if (pthread_create(&handles[i], NULL, client, context)) die("pthread_create");
    for (size_t i = 0; i < threads; i++) pthread_join(handles[i], NULL);
    puts("done");
    return 0;
}
