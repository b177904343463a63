//! From a tree of routers to what connections meet: one table of routes that need no other.

use std::collections::HashMap;
use std::sync::Arc;

use nexios_engine::{Group, InvalidSetting};

use crate::audience::switchboard::{Place, RouterGroup, Switchboard};
use crate::broker::Topic;
use crate::connection::allowed_hosts::{AllowedHosts, InvalidHost};
use crate::connection::origin::{InvalidOrigin, Origins};
use crate::connection::proxy::{InvalidProxy, TrustedProxies};
use crate::live::{self, HOLD_TIMEOUT, Rules, WATCHED_ROOMS_MAX};
use crate::routing::app::{App, BuiltApp};
use crate::routing::event::{Listeners, PresenceListeners};
use crate::routing::exception::ExceptionHandlers;
use crate::routing::middleware::{self, Middleware};
use crate::routing::options::Options;
use crate::routing::path::{PathError, PathTree, Pattern};
use crate::routing::route::{BuiltRoute, Route, ServedRoute};
use crate::routing::router::{RouterHandle, WsRouter};

/// Why an app cannot be built.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A route's path or a router's prefix is no path.
    #[error("{path:?} is no path: {error}")]
    Path {
        /// As it was written.
        path: String,
        /// What is wrong with it.
        error: PathError,
    },
    /// Two routes match the same paths.
    #[error("two routes are on one path: {0} and {1}")]
    DuplicateRoute(String, String),
    /// A route lists the subprotocol `nexios.v1`, but its clients may not speak it.
    #[error("the route {0} lists the subprotocol \"nexios.v1\", which needs live to be true")]
    NotLive(String),
    /// Two routers have one name.
    #[error("two routers are called {0:?}")]
    DuplicateName(String),
    /// A trusted proxy that is neither an address nor a network nor `unix`.
    #[error(transparent)]
    Proxy(#[from] InvalidProxy),
    /// An allowed host that is no host.
    #[error(transparent)]
    Host(#[from] InvalidHost),
    /// An allowed origin that no page has.
    #[error(transparent)]
    Origin(#[from] InvalidOrigin),
    /// A setting of the server that cannot be kept to.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
}

/// A router with all that it inherits.
struct Level {
    name: Option<String>,
    prefix: Pattern,
    middleware: Vec<Arc<dyn Middleware>>,
    listeners: Listeners,
    exceptions: ExceptionHandlers,
    options: Options,
    rules: Arc<Rules>,
    handle: RouterHandle,
    group: Group,
    /// Its own id to that of the last router below it.
    ids: std::ops::Range<u32>,
}

#[derive(Default)]
struct Levels {
    done: Vec<(Level, Vec<Route>)>,
    names: HashMap<String, u32>,
}

pub(crate) fn build(app: App) -> Result<Arc<BuiltApp>, ConfigError> {
    app.server.check()?;
    let handle = app.root.handle();
    let mut levels = Levels::default();
    levels.add(app.root, None)?;
    // Also where no route inherits them.
    for (level, _) in &levels.done {
        level.options.origins.as_deref().map(Origins::of).transpose()?;
    }
    let mut proxies = TrustedProxies::default();
    app.trusted_proxies.iter().try_for_each(|proxy| proxies.add(proxy))?;
    let hosts = app.allowed_hosts.as_deref().map_or(Ok(AllowedHosts::Any), AllowedHosts::of)?;
    let groups = levels.done.iter().map(|(level, _)| level.router_group()).collect();
    let listeners = PresenceListeners {
        join: levels.listeners(|listeners| &listeners.join),
        leave: levels.listeners(|listeners| &listeners.leave),
    };
    let switchboard = Arc::new(Switchboard::new(groups, app.state, proxies, listeners));
    let mut routes = PathTree::default();
    for (level, own) in levels.done {
        level.handle.place(Place { switchboard: switchboard.clone(), ids: level.ids.clone() });
        for route in own {
            let route = Arc::new(level.build_route(route, &switchboard, &handle)?);
            let inserted = routes.insert(&route.pattern, ServedRoute::new(route.clone()));
            inserted.map_err(|other| ConfigError::DuplicateRoute(other.route.path.clone(), route.path.clone()))?;
        }
    }
    Ok(Arc::new(BuiltApp {
        routes,
        switchboard,
        hosts,
        server: app.server,
        http: app.http,
        handle,
        broker: app.broker,
        access_log: app.access_log,
    }))
}

impl Levels {
    /// All of one kind, those of outer routers first.
    fn listeners<L: Clone>(&self, of: impl Fn(&Listeners) -> &Vec<L>) -> Vec<L> {
        self.done.iter().flat_map(|(level, _)| of(&level.listeners).clone()).collect()
    }

    /// Adds a router and those below it: in preorder, so that a subtree is a range of ids.
    fn add(&mut self, router: WsRouter, outer: Option<usize>) -> Result<(), ConfigError> {
        let at = self.done.len();
        let WsRouter { prefix, name, handle, routes, children, middleware, listeners, exceptions, options, rules } =
            router;
        let is_taken = |name: &&String| self.names.insert((*name).clone(), at as u32).is_some();
        if let Some(name) = name.as_ref().filter(is_taken) {
            return Err(ConfigError::DuplicateName(name.clone()));
        }
        let prefix_of = |outer: &Pattern| Pattern::parse(&prefix).and_then(|own| own.under(outer));
        let path_error = |error| ConfigError::Path { path: prefix.clone(), error };
        let group = Group::new(at as u32);
        let ids = at as u32..at as u32;
        let level = match outer.and_then(|outer| self.done.get(outer)) {
            None => Level {
                name,
                prefix: prefix_of(&Pattern::default()).map_err(path_error)?,
                middleware,
                listeners,
                exceptions: ExceptionHandlers::default().under(exceptions),
                options,
                rules: Arc::new(rules),
                handle,
                group,
                ids,
            },
            Some((outer, _)) => Level {
                name,
                prefix: prefix_of(&outer.prefix).map_err(path_error)?,
                middleware: outer.middleware.iter().cloned().chain(middleware).collect(),
                listeners: listeners.under(&outer.listeners),
                exceptions: outer.exceptions.under(exceptions),
                options: options.under(&outer.options),
                rules: Arc::new(rules.under(&outer.rules)),
                handle,
                group,
                ids,
            },
        };
        self.done.push((level, routes));
        children.into_iter().try_for_each(|child| self.add(child, Some(at)))?;
        let end = self.done.len() as u32;
        if let Some((level, _)) = self.done.get_mut(at) {
            level.ids.end = end;
        }
        Ok(())
    }
}

impl Level {
    fn router_group(&self) -> RouterGroup {
        RouterGroup {
            group: self.group.clone(),
            slow_client: self.options.settings().slow_client,
            ids: self.ids.clone(),
            topics: self.topics(),
            gap: self.listeners.gap.clone(),
        }
    }

    /// The outermost router is the app, and may have a name besides.
    fn topics(&self) -> Vec<Topic> {
        let name = self.name.as_deref().map(Into::into).map(Topic::Router);
        match (self.ids.start, name) {
            (0, name) => [Topic::App].into_iter().chain(name).collect(),
            (_, Some(name)) => vec![name],
            (_, None) => vec![Topic::Router(self.prefix.to_string().into())],
        }
    }

    fn build_route(
        &self,
        route: Route,
        switchboard: &Arc<Switchboard>,
        app: &RouterHandle,
    ) -> Result<BuiltRoute, ConfigError> {
        let pattern = Pattern::parse(&route.path).and_then(|own| own.under(&self.prefix));
        let pattern = pattern.map_err(|error| ConfigError::Path { path: route.path.clone(), error })?;
        let options = route.options.under(&self.options);
        let live = options.live.unwrap_or(false);
        let subprotocols = options.subprotocols.clone().unwrap_or_default();
        if !live && subprotocols.iter().any(|name| name == live::SUBPROTOCOL) {
            return Err(ConfigError::NotLive(pattern.to_string()));
        }
        Ok(BuiltRoute {
            path: pattern.to_string(),
            pattern,
            name: route.name,
            handler: route.handler,
            middleware: middleware::chain(self.middleware.iter().chain(&route.middleware)),
            listeners: self.listeners.clone(),
            exceptions: self.exceptions.clone(),
            settings: options.settings(),
            origins: options.origins.as_deref().map_or(Ok(Origins::Same), Origins::of)?,
            refuse_before_accept: options.refuse_before_accept.unwrap_or(false),
            subprotocols,
            live,
            cancel_on_disconnect: options.cancel_on_disconnect.unwrap_or(false),
            retry: options.retry.unwrap_or_default(),
            hold_timeout: options.hold_timeout.unwrap_or(HOLD_TIMEOUT),
            leave_delay: options.leave_delay.unwrap_or_default(),
            watched_rooms_max: options.watched_rooms_max.unwrap_or(Some(WATCHED_ROOMS_MAX)),
            rules: self.rules.clone(),
            group: self.group.clone(),
            router: self.handle.clone(),
            app: app.clone(),
            switchboard: switchboard.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::websocket::WebSocket;
    use crate::error::Result;
    use crate::routing::middleware::Next;

    async fn handler(ws: WebSocket) -> Result {
        ws.accept().await
    }

    async fn auth(ws: WebSocket, next: Next) -> Result {
        next.run(ws).await
    }

    async fn log(ws: WebSocket, next: Next) -> Result {
        next.run(ws).await
    }

    fn error(app: App) -> ConfigError {
        app.build().err().unwrap()
    }

    #[test]
    fn prefixes_concatenate_and_at_replaces_the_routers_own() {
        let inner = WsRouter::with_prefix("/inner").ws("/a", handler);
        let outer = WsRouter::with_prefix("/outer/").ws("", handler).mount(inner);
        let other = WsRouter::with_prefix("/own").ws("/b", handler);
        let app = App::new().mount(outer).mount(other.at("/x/{id}")).build().unwrap();
        for (path, found) in [
            ("/outer", Some("/outer")),
            ("/outer/inner/a/", Some("/outer/inner/a")),
            ("/x/7/b", Some("/x/{id}/b")),
            ("/own/b", None),
            ("/inner/a", None),
        ] {
            assert_eq!(app.find(path).map(|route| route.path.as_str()), found, "{path}");
        }
    }

    #[test]
    fn two_routes_on_one_path_are_an_error() {
        let router = WsRouter::with_prefix("/chat").ws("/", handler);
        let error = error(App::new().ws("/chat", handler).mount(router));
        assert_eq!(error, ConfigError::DuplicateRoute("/chat".into(), "/chat".into()));
    }

    #[test]
    fn a_route_lists_nexios_v1_only_where_clients_may_speak_it() {
        let lists = || Route::new("/live", handler).subprotocols(["chat.v1", "nexios.v1"]);
        assert_eq!(error(App::new().route(lists())), ConfigError::NotLive("/live".into()));
        assert_eq!(error(App::new().live(true).route(lists().live(false))), ConfigError::NotLive("/live".into()));
        let app = App::new().live(true).route(lists()).build().unwrap();
        assert!(app.find("/live").unwrap().live);
    }

    #[test]
    fn two_routers_of_one_name_are_an_error() {
        let app = App::new().mount(WsRouter::new().named("a")).mount(WsRouter::new().mount(WsRouter::new().named("a")));
        assert_eq!(error(app), ConfigError::DuplicateName("a".into()));
    }

    #[test]
    fn what_is_no_path_or_proxy_is_an_error() {
        assert!(matches!(error(App::new().ws("/{a", handler)), ConfigError::Path { .. }));
        assert!(matches!(error(App::new().mount(WsRouter::with_prefix("/{}"))), ConfigError::Path { .. }));
        assert!(matches!(error(App::new().trusted_proxies(["x"])), ConfigError::Proxy(_)));
        for limit in [0, 65_536, 200_000] {
            let text = error(App::new().server(|server| server.head_bytes_max = limit)).to_string();
            assert_eq!(text, format!("head_bytes_max {limit} is out of range (1-65535)"));
        }
        assert!(App::new().server(|server| server.head_bytes_max = 65_535).build().is_ok());
    }

    #[test]
    fn a_function_registered_at_two_levels_is_once_in_the_chain() {
        let router = WsRouter::new().middleware(auth).route(Route::new("/a", handler).middleware(log).middleware(auth));
        let app = App::new().middleware(log).mount(router).build().unwrap();
        assert_eq!(app.find("/a").unwrap().middleware.len(), 2);
    }

    #[test]
    fn a_subtree_is_a_range_of_ids() {
        let (a, b, c) = (WsRouter::new(), WsRouter::new(), WsRouter::new());
        let (of_a, of_b) = (a.ws("/a", handler), b.ws("/b", handler));
        let tree = App::new().mount(of_a.mount(of_b)).mount(c.ws("/c", handler)).ws("/", handler);
        let mut levels = Levels::default();
        levels.add(tree.root, None).unwrap();
        let ids: Vec<_> = levels.done.iter().map(|(level, _)| level.ids.clone()).collect();
        assert_eq!(ids, [0..4, 1..3, 2..3, 3..4]);
    }

    #[test]
    fn listeners_and_settings_of_a_router_cover_what_is_below_it() {
        let inner = WsRouter::new().ws("/in", handler).on_connect(async |_: WebSocket| ());
        let outer = WsRouter::new().mount(inner).ws("/out", handler).on_connect(async |_: WebSocket| ());
        let app = App::new().mount(outer).settings(|settings| settings.message_bytes_max = Some(7)).build().unwrap();
        let listeners = |path| app.find(path).unwrap().listeners.connect.len();
        assert_eq!((listeners("/in"), listeners("/out")), (2, 1));
        assert_eq!(app.find("/in").unwrap().settings.message_bytes_max, Some(7));
    }

    #[test]
    fn state_is_found_by_type_once_the_app_is_built() {
        let app = App::new().state(7_u32);
        let handle = app.handle();
        assert!(handle.state::<u32>().is_none());
        let _app = app.build().unwrap();
        assert_eq!(handle.state::<u32>().as_deref(), Some(&7));
        assert!(handle.state::<u64>().is_none());
        assert_eq!(handle.count(), 0);
    }
}
