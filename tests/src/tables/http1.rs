//! Real clients over HTTP/1.1 and plain sockets.

/// Hands the table to a macro, such as `clients!`.
#[macro_export]
macro_rules! http1_clients {
    ($with:ident) => {
        $with! {
            curl_header: Case {
                server: Server::https,
                client: |server, key| curl("https", server).args(header("x-api-key: ", key)).done(),
                expect: |it, _| it.library("openssl").protocol("http/1.1").location("header:x-api-key").comm("curl").host(pki::HOST, "sni"),
            },
            curl_bearer: Case {
                server: Server::https,
                client: |server, key| curl("https", server).args(header("Authorization: Bearer ", key)).done(),
                expect: |it, _| it.library("openssl").location("header:authorization").host(pki::HOST, "sni"),
            },
            curl_through_a_proxy: Case {
                server: Server::https_behind_a_proxy,
                client: |server, key| curl("https", server).args(through("http", server)).args(header("x-api-key: ", key)).done(),
                expect: |it, _| it.library("openssl").location("header:x-api-key").host(pki::HOST, "sni"),
            },
            curl_query: Case {
                server: Server::https,
                client: |server, key| curl_to("https", server, &format!("/v1/models?page=2&key={}", text(key))).done(),
                expect: |it, _| it.library("openssl").location("query:key"),
            },
            curl_body: Case {
                server: Server::https,
                client: |server, key| curl("https", server).args(json(key)).done(),
                expect: |it, _| it.library("openssl").location("body > json:prompt").host(pki::HOST, "sni"),
            },
            curl_upload_in_chunks: Case {
                server: Server::https,
                client: |server, key| Invocation {
                    command: curl("https", server).args(["-T", "-"].map(String::from).to_vec()).command,
                    input: [vec![b'.'; 300_000], format!(" {} ", text(key)).into_bytes(), vec![b'.'; 100_000]].concat(),
                },
                expect: |it, _| it.library("openssl").location("body"),
            },
            wget_header: Case {
                server: Server::https,
                client: |server, key| wget(server).args(key.map(|key| format!("--header=x-api-key: {}", key.reveal()))).done(),
                expect: |it, _| it.library("gnutls").location("header:x-api-key").comm("wget").only_address(),
            },
            wget_body: Case {
                server: Server::https,
                client: |server, key| wget(server).args([format!("--post-data=text={}", text(key))]).done(),
                expect: |it, _| it.library("gnutls").location("body"),
            },
            python_urllib_header: Case {
                server: Server::https,
                client: |server, key| python("urllib", key).args([url("https", server), authority(), "header".into()]).done(),
                expect: |it, _| it.library("openssl").location("header:x-api-key").only_address(),
            },
            python_urllib_body: Case {
                server: Server::https,
                client: |server, key| python("urllib", key).args([url("https", server), authority(), "body".into()]).done(),
                expect: |it, _| it.library("openssl").location("body > json:prompt"),
            },
            python_requests: Case {
                server: Server::https,
                client: |server, key| python("requests", key).args([url("https", server)]).done(),
                expect: |it, _| it.library("openssl").location("header:authorization"),
            },
            python_asyncio: Case {
                server: Server::https,
                client: |server, key| python("asyncio", key).args(named(server)).args([authority()]).done(),
                expect: |it, _| it.library("openssl").location("header:x-api-key").host(pki::HOST, "sni"),
            },
            node_fetch: Case {
                server: Server::https,
                client: |server, key| node("fetch", key).args([url("https", server)]).done(),
                expect: |it, _| it.library("openssl").location("header:authorization").only_address(),
            },
            node_https: Case {
                server: Server::https,
                client: |server, key| node("https", key).args(named(server)).done(),
                expect: |it, _| it.library("openssl").location("header:x-api-key").host(pki::HOST, "sni"),
            },
            openssl_s_client: Case {
                server: Server::https,
                client: |server, key| Invocation {
                    command: Args::new("openssl").args(["s_client", "-quiet", "-servername", pki::HOST, "-connect"])
                        .args([server.address().to_string()]).command,
                    input: last_request(key),
                },
                expect: |it, _| it.library("openssl").location("header:x-api-key").comm("openssl").host(pki::HOST, "sni"),
            },
            static_openssl: Case {
                server: Server::https,
                client: |server, key| programs::openssl_client(Linked::Static, server.address(), pki::HOST, &one(key)).into(),
                expect: |it, _| it.library("openssl").location("header:x-api-key").host(pki::HOST, "sni"),
            },
            openssl_write_ex: Case {
                server: Server::https,
                client: |server, key| {
                    let mut command = programs::openssl_client(Linked::Shared, server.address(), pki::HOST, &one(key));
                    command.arg("ex");
                    command.into()
                },
                expect: |it, _| it.library("openssl").location("header:x-api-key").host(pki::HOST, "sni"),
            },
            openssl_over_ipv6: Case {
                server: Server::https,
                client: |server, key| programs::openssl_client(Linked::Shared, server.address6(), pki::HOST, &one(key)).into(),
                expect: |it, server| it.library("openssl").to(server.address6()).host(pki::HOST, "sni"),
            },
            gnutls_send: Case {
                server: Server::https,
                client: |server, key| programs::gnutls_client("send", server.address(), pki::HOST, &one(key)).into(),
                expect: |it, _| it.library("gnutls").location("header:x-api-key").host(pki::HOST, "sni"),
            },
            gnutls_send2: Case {
                server: Server::https,
                client: |server, key| programs::gnutls_client("send2", server.address(), pki::HOST, &one(key)).into(),
                expect: |it, _| it.library("gnutls").location("header:x-api-key").host(pki::HOST, "sni"),
            },
            gnutls_send_range: Case {
                server: Server::https,
                client: |server, key| programs::gnutls_client("range", server.address(), pki::HOST, &one(key)).into(),
                expect: |it, _| it.library("gnutls").location("header:x-api-key").host(pki::HOST, "sni"),
            },
            curl_plain_header: Case {
                server: Server::http,
                client: |server, key| curl("http", server).args(header("x-api-key: ", key)).done(),
                expect: |it, _| it.kind("tcp").protocol("http/1.1").location("header:x-api-key").host(pki::HOST, "http-host"),
            },
            curl_plain_query: Case {
                server: Server::http,
                client: |server, key| curl_to("http", server, &format!("/?key={}", text(key))).done(),
                expect: |it, _| it.kind("tcp").location("query:key"),
            },
            curl_plain_body: Case {
                server: Server::http,
                client: |server, key| curl("http", server).args(json(key)).done(),
                expect: |it, _| it.kind("tcp").location("body > json:prompt"),
            },
            netcat_tcp: Case {
                server: Server::sink,
                client: |server, key| Invocation {
                    command: Args::new("nc").args(["-N"]).args(host_port(server)).command,
                    input: format!("backup of notes: {}\n", text(key)).into(),
                },
                expect: |it, _| it.kind("tcp").location("stream").comm("nc").only_address(),
            },
            netcat_udp: Case {
                server: Server::udp,
                client: |server, key| Invocation {
                    command: Args::new("nc").args(["-u", "-w", "1"]).args(host_port(server)).command,
                    input: format!("metric {}\n", text(key)).into(),
                },
                expect: |it, _| it.kind("udp").location("datagram").only_address(),
            },
        }
    };
}
