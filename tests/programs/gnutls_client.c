/* A TLS client on GnuTLS that writes a script, one library call per entry.
 *
 *   gnutls_client IP PORT SNI SCRIPT send|send2|range [on]
 *
 * on: a write that fails is said to be "refused", and the next one follows.
 *
 * The script's format is that of openssl_client.c.
 */
#include <arpa/inet.h>
#include <gnutls/gnutls.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void check(const char *what, ssize_t result) {
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, gnutls_strerror((int)result));
        exit(1);
    }
}

static int connect_to_server(const char *ip, int port) {
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (inet_pton(AF_INET, ip, &v4.sin_addr) != 1) die("address");
    if (fd < 0 || connect(fd, (void *)&v4, sizeof v4)) die("connect");
    return fd;
}

static int go_on;

static void send_all(gnutls_session_t session, const char *call, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t sent;
        if (!strcmp(call, "send")) {
            sent = gnutls_record_send(session, bytes, length);
        } else if (!strcmp(call, "send2")) {
            sent = gnutls_record_send2(session, bytes, length, 0, 0);
        } else {
            gnutls_range_st range = {length, length};
            sent = gnutls_record_send_range(session, bytes, length, &range);
        }
        if (go_on && sent < 0 && gnutls_error_is_fatal((int)sent)) {
            puts("refused");
            return;
        }
        check(call, sent);
        bytes += sent;
        length -= (size_t)sent;
    }
}

int main(int argc, char **argv) {
    if (argc < 6) {
        fprintf(stderr, "usage: %s IP PORT SNI SCRIPT send|send2|range [on]\n", argv[0]);
        return 2;
    }
    go_on = argc > 6 && !strcmp(argv[6], "on");
    signal(SIGPIPE, SIG_IGN);
    gnutls_certificate_credentials_t credentials;
    gnutls_session_t session;
    gnutls_certificate_allocate_credentials(&credentials);
    check("init", gnutls_init(&session, GNUTLS_CLIENT));
    check("priority", gnutls_set_default_priority(session));
    check("credentials", gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials));
    check("sni", gnutls_server_name_set(session, GNUTLS_NAME_DNS, argv[3], strlen(argv[3])));
    int fd = connect_to_server(argv[1], atoi(argv[2]));
    gnutls_transport_set_int(session, fd);
    check("handshake", gnutls_handshake(session));

    FILE *file = fopen(argv[4], "rb");
    size_t length;
    if (!file) die(argv[4]);
    while (fscanf(file, "%zu", &length) == 1) {
        char *bytes = malloc(length + 1);
        if (!bytes || fgetc(file) != '\n' || fread(bytes, 1, length, file) != length) die("script");
        send_all(session, argv[5], bytes, length);
        free(bytes);
    }
    gnutls_bye(session, GNUTLS_SHUT_WR);
    shutdown(fd, SHUT_WR);
    char buffer[4096];
    while (read(fd, buffer, sizeof buffer) > 0) {}
    puts("done");
    return 0;
}
