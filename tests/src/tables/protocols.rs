//! Real clients whose bytes have to be taken apart first: HTTP/2, forms.

/// Hands the table to a macro, such as `clients!`.
#[macro_export]
macro_rules! protocol_clients {
    ($with:ident) => {
        $with! {
            curl_http2_header: Case {
                server: Server::http2,
                client: |server, key| curl_http2(server, "/v1/messages").args(header("x-api-key: ", key)).done(),
                expect: |it, _| it.library("openssl").protocol("h2").location("header:x-api-key").comm("curl").host(pki::HOST, "sni"),
            },
            curl_http2_bearer: Case {
                server: Server::http2,
                client: |server, key| curl_http2(server, "/v1/messages").args(header("Authorization: Bearer ", key)).done(),
                expect: |it, _| it.protocol("h2").location("header:authorization").host(pki::HOST, "sni"),
            },
            curl_http2_query: Case {
                server: Server::http2,
                client: |server, key| curl_http2(server, &format!("/v1/models?page=2&key={}", text(key))).done(),
                expect: |it, _| it.protocol("h2").location("query:key"),
            },
            curl_http2_body: Case {
                server: Server::http2,
                client: |server, key| curl_http2(server, "/v1/messages").args(json(key)).done(),
                expect: |it, _| it.protocol("h2").location("body > json:prompt"),
            },
            curl_http2_prior_knowledge_upload: Case {
                server: Server::http2,
                client: |server, key| Invocation {
                    command: curl_http2(server, "/upload").args(["-T", "-"]).command,
                    input: [vec![b'.'; 300_000], format!(" {} ", text(key)).into_bytes(), vec![b'.'; 100_000]].concat(),
                },
                expect: |it, _| it.protocol("h2").location("body"),
            },
            python_httpx_header: Case {
                server: Server::http2,
                client: |server, key| python("httpx", key).args([url("https", server), authority(), "header".into()]).done(),
                expect: |it, _| it.library("openssl").protocol("h2").location("header:authorization").only_address(),
            },
            python_httpx_body: Case {
                server: Server::http2,
                client: |server, key| python("httpx", key).args([url("https", server), authority(), "body".into()]).done(),
                expect: |it, _| it.protocol("h2").location("body > json:env.API_KEY"),
            },
            curl_form: Case {
                server: Server::https,
                client: |server, key| curl("https", server).args(["-F", "page=1", "-F", &format!("note=see {} there", text(key))]).done(),
                expect: |it, _| it.library("openssl").location("body > part:note"),
            },
        }
    };
}
