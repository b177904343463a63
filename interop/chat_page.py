"""The chat page in one browser window, as a person sees it."""

from contextlib import contextmanager

from playwright.sync_api import expect

TOKEN = "letmein"

# The default of five seconds is not enough for a browser on a busy machine.
expect.set_options(timeout=20_000)


class ChatPage:
    def __init__(self, page, server):
        self.page = page
        self.problems = []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", self._on_console)
        page.goto(server.page_url)

    def sign_in(self, name, token=TOKEN):
        self.page.fill("#name", name)
        self.page.fill("#token", token)
        self.page.click("#sign-in")
        return self

    def enter(self, name):
        """Signs in and waits until the server has welcomed them."""
        self.sign_in(name)
        self.expect_status("connected")
        return self

    def say(self, text):
        self.page.fill("#message", text)
        self.page.click("#send")

    def flood(self, count):
        """Sends faster than anybody types."""
        send = """count => { for (let i = 0; i < count; i++) {
            document.getElementById("message").value = `flood ${i}`;
            document.getElementById("composer").requestSubmit();
        } }"""
        self.page.evaluate(send, count)

    def open_person(self, name):
        self.page.click(f'#people [data-person="{name}"] button')

    def open_room(self, name):
        self.page.click(f'#rooms [data-room="{name}"] button')

    def bodies(self):
        return self.page.locator("#messages .message .body")

    def expect_status(self, status, seconds=10):
        expect(self.page.locator("#status")).to_have_attribute("data-status", status, timeout=seconds * 1000)

    def expect_people(self, *names):
        listed = self.page.locator("#people [data-person]")
        expect(listed).to_have_count(len(names))
        assert {item.get_attribute("data-person") for item in listed.all()} == set(names)

    def expect_notice(self, text):
        expect(self.page.locator("#notice")).to_contain_text(text)

    def overflows(self):
        """What sticks out of the screen sideways: elements, each by its class or tag."""
        return self.page.evaluate("""() => {
            const width = document.documentElement.clientWidth;
            const wide = (node) => node.getBoundingClientRect().right > width;
            const suspects = document.querySelectorAll("body, header, footer, #composer, #notice, #messages *");
            return [...suspects].filter(wide).map((node) => node.className || node.tagName);
        }""")

    def _on_console(self, message):
        # A refused or lost connection is logged by the browser itself.
        if message.type in {"error", "warning"} and "WebSocket connection to" not in message.text:
            self.problems.append(message.text)


@contextmanager
def window(browser, server, **options):
    """A window of a person of its own: no cookies or storage shared with others."""
    context = browser.new_context(**({"viewport": {"width": 1100, "height": 700}} | options))
    context.set_default_timeout(10_000)
    try:
        chat = ChatPage(context.new_page(), server)
        yield chat
        assert chat.problems == []
    finally:
        context.close()
