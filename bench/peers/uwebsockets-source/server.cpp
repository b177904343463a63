// uWebSockets from its sources, on epoll, after the project's own examples: answers are sent from
// the message handler, broadcasts are topics.

#include <cstdlib>
#include <iostream>
#include <string>

#include <sys/resource.h>

#include "App.h"

namespace {

// The limits of nexios: room for messages of 1 MiB, and for as much that waits for a slow client.
constexpr unsigned PAYLOAD_BYTES_MAX = 1024 * 1024;
constexpr unsigned BACKPRESSURE_BYTES_MAX = 1024 * 1024;

// There is nothing to remember of a client.
struct Client {};

using Behavior = uWS::App::WebSocketBehavior<Client>;

// The library's defaults, but for the limits: pings before 120 s of silence are over.
Behavior behavior(bool compress) {
    Behavior behavior;
    behavior.compression = uWS::CompressOptions(compress ? uWS::SHARED_COMPRESSOR | uWS::SHARED_DECOMPRESSOR : 0);
    behavior.maxPayloadLength = PAYLOAD_BYTES_MAX;
    behavior.maxBackpressure = BACKPRESSURE_BYTES_MAX;
    return behavior;
}

// Every message back to its sender.
template <bool COMPRESS>
Behavior echo() {
    Behavior route = behavior(COMPRESS);
    route.message = [](auto *socket, std::string_view message, uWS::OpCode code) {
        socket->send(message, code, COMPRESS);
    };
    return route;
}

// Every message to all that hear the topic.
template <bool COMPRESS>
Behavior publish(uWS::App &app, std::string topic) {
    Behavior route = behavior(COMPRESS);
    route.message = [&app, topic](auto *, std::string_view message, uWS::OpCode code) {
        app.publish(topic, message, code, COMPRESS);
    };
    return route;
}

Behavior subscribe(Behavior route, std::string topic) {
    route.open = [topic](auto *socket) { socket->subscribe(topic); };
    return route;
}

// The soft limit is 1,024 on most systems, whatever the hard one allows.
void raise_descriptor_limit() {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

} // namespace

int main(int count, char **arguments) {
    std::string address = count == 3 && std::string(arguments[1]) == "--listen" ? arguments[2] : "";
    auto colon = address.rfind(':');
    if (colon == std::string::npos) {
        std::cerr << "usage: server --listen HOST:PORT\n";
        return 2;
    }
    raise_descriptor_limit();
    uWS::App app;
    app.ws<Client>("/echo", echo<false>());
    app.ws<Client>("/deflate", echo<true>());
    app.ws<Client>("/bcast", subscribe(publish<false>(app, "everybody"), "everybody"));
    app.ws<Client>("/bcast-deflate", subscribe(publish<true>(app, "everybody deflated"), "everybody deflated"));
    app.ws<Client>("/pub", publish<false>(app, "subscribers"));
    app.ws<Client>("/sub", subscribe(behavior(false), "subscribers"));
    app.listen(address.substr(0, colon), std::atoi(address.c_str() + colon + 1), [&address](auto *socket) {
        if (!socket) {
            std::cerr << address << " cannot be listened on\n";
        }
    });
    app.run();
}
