"""The operators' page in a real browser: ten thousand signs, orders, roles, two languages, a phone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from busd.notices import Notices
from busd.shelf import Store
from busd.sign_registry import Role
from busd.signs.control import Actor, SignControl
from busd.web.signs_office import SignOffice

ROOT = Actor("root", Role.ADMIN)
MANY = 10_000


class Fleet:
    """A city with many signs, whose lives the test decides; the page is served on a free port."""

    def __init__(self, network: Any, open_city: Callable[..., Any], many: int) -> None:
        notices = Notices()
        notices.bind(network)
        self.city: Any = None

        def submit(commands: Any) -> None:
            for name, args, _ in commands:
                notices.take(name, args, 0.0)

        # the clock is the city's, which is only there after it is opened
        city = open_city(signs=None)
        self.control = SignControl(Store(), city.world.clock, lambda: network, lambda: notices, submit)
        city.stop()
        self.city = open_city(signs=SignOffice(self.control), tick_s=0.2)
        self.city.world.clock = city.world.clock
        self.url = self.city.url
        self.call(lambda c: self.fill(c, many))
        self.city.publish(lambda w: [w.board(stop, w.departure(stop, "1-8", 640)) for stop in "ABC"])

    def call(self, work: Callable[[SignControl], Any]) -> Any:
        return self.city.call(lambda _: work(self.control))

    def fill(self, control: SignControl, many: int) -> None:
        rows = (f"LS-{k:05d},{'ABC'[k % 3]},{'west' if k % 2 else 'east'}" for k in range(many))
        control.import_signs("sign,stops,groups\n" + "\n".join(rows), ROOT)
        for k in range(min(many, 200)):
            self.meet(control, f"LS-{k:05d}", "ABC"[k % 3])
        control.health.closed("LS-00004", control.clock.now(), 1006)

    @staticmethod
    def meet(control: SignControl, sign: str, stop: str) -> None:
        control.health.opened(sign, control.clock.now(), {"rows": 4, "cols": 32, "lang": ["zh-Hans"], "hw": "led"})
        control.health.subscribed(sign, [stop])

    def token(self, role: str) -> str:
        return str(self.call(lambda c: c.add_operator(f"某{role}", role, ROOT)))


@pytest.fixture
def fleet(network: Any, open_city: Callable[..., Any]) -> Iterator[Callable[..., Fleet]]:
    yield lambda many=30: Fleet(network, open_city, many)


def expect(locator: Any) -> Any:
    from playwright.sync_api import expect as expected

    return expected(locator)


def sign_in(page: Any, token: str) -> None:
    page.fill("#token", token)
    page.keyboard.press("Enter")
    page.wait_for_selector(".sign")


def shown(page: Any) -> list[str]:
    return [node.get_attribute("data-sign") for node in page.query_selector_all(".sign")]


def test_ten_thousand_signs_are_one_page(fleet: Callable[..., Fleet], visit: Callable[..., Any]) -> None:
    it = fleet(MANY)
    page = visit("/signs", it).page
    sign_in(page, it.token("viewer"))
    expect(page.locator(".chip-count").first).to_have_text("10,000")
    assert len(shown(page)) < 60, "only what is in view is built"
    assert shown(page)[0] == "LS-00000"
    page.evaluate("document.querySelector('.grid').scrollTop = 1e9")
    page.wait_for_selector('.sign[data-sign="LS-09999"]')
    assert len(shown(page)) < 60
    page.fill(".search", "ls-0777 B")
    expect(page.locator(".sign")).to_have_count(3)
    assert sorted(shown(page)) == ["LS-07771", "LS-07774", "LS-07777"]


def test_a_panel_shows_what_the_sign_shows_and_follows_it(
    fleet: Callable[..., Fleet], visit: Callable[..., Any]
) -> None:
    it = fleet()
    page = visit("/signs", it).page
    sign_in(page, it.token("viewer"))
    card = page.locator('.sign[data-sign="LS-00000"]')
    card.locator(".led", has_text=re.compile("10分钟|10分")).wait_for()
    assert card.locator(".sign-name").inner_text() == "西站什字"
    it.city.publish(lambda w: [w.board("A", w.departure("A", "1-8", 250))])
    card.locator(".led", has_text="4分钟").wait_for()
    it.call(lambda c: c.health.closed("LS-00000", c.clock.now(), 1006))
    page.locator('.sign[data-sign="LS-00000"][data-state="offline"]').wait_for()
    it.call(lambda c: it.meet(c, "LS-00000", "A"))
    page.locator('.sign[data-sign="LS-00000"][data-state="online"]').wait_for()


def test_filters_and_their_counts(fleet: Callable[..., Fleet], visit: Callable[..., Any]) -> None:
    it = fleet()
    page = visit("/signs", it).page
    sign_in(page, it.token("viewer"))
    page.click('.chip[data-state="offline"]')
    expect(page.locator(".sign")).to_have_count(1)
    assert shown(page) == ["LS-00004"]
    assert page.get_attribute('.chip[data-state="offline"]', "aria-pressed") == "true"
    page.click('.chip[data-state="offline"]')
    page.select_option("select >> nth=0", "west")
    expect(page.locator(".chip-count").first).to_have_text("15")
    assert all(int(sign[-2:]) % 2 for sign in shown(page))
    page.fill(".search", "no such sign")
    page.locator(".grid-empty", has_text="没有符合条件的站牌").wait_for()


def test_a_dispatcher_orders_and_everybody_sees_it(fleet: Callable[..., Fleet], visit: Callable[..., Any]) -> None:
    it = fleet()
    page = visit("/signs", it, expect_trouble=True).page  # the browser complains of the 400
    sign_in(page, it.token("dispatcher"))
    page.click('.sign[data-sign="LS-00000"]')
    page.locator("dialog select").first.select_option("text")
    page.locator("dialog .form-texts input").first.fill("本站停用")
    page.locator("dialog button", has_text="设定").click()
    page.keyboard.press("Escape")
    card = page.locator('.sign[data-sign="LS-00000"]')
    card.locator(".tag-mode", has_text="固定文字").wait_for()
    card.locator(".led", has_text="本站停用").wait_for()
    page.click("#orders")
    page.locator("dialog .order", has_text="sign:LS-00000").locator("button").click()
    page.locator("dialog", has_text="目前没有公告或模式").wait_for()
    form = page.locator("dialog .form").first
    form.locator("input[lang=zh-Hans]").fill("1路绕行")
    form.locator("input[lang=bo]").fill("འཁོར་ལམ་1པ་ལམ་བསྐོར།")
    form.locator("input[placeholder]").fill("line:nowhere")
    form.locator("button").click()
    page.locator("dialog .problem", has_text="nowhere").wait_for()
    form.locator("input[placeholder]").fill("line:1")
    form.locator("select").nth(0).select_option("1")
    form.locator("button").click()
    page.locator("dialog .order-prio-1", has_text="1路绕行").wait_for()
    (order,) = it.call(lambda c: list(c.messages))
    assert (order.targets, list(order.text)) == (("line:1",), ["zh-Hans", "bo"])


def test_a_viewer_only_looks(fleet: Callable[..., Fleet], visit: Callable[..., Any]) -> None:
    it = fleet()
    page = visit("/signs", it).page
    sign_in(page, it.token("viewer"))
    page.click('.sign[data-sign="LS-00000"]')
    page.locator("dialog .facts").wait_for()
    assert page.locator("dialog form, dialog .care").count() == 0


def test_alarms_open_their_sign(fleet: Callable[..., Fleet], visit: Callable[..., Any]) -> None:
    it = fleet()

    def age(control: SignControl) -> None:
        since = control.health.alarms._since
        since.update({key: at - 1000.0 for key, at in since.items()})
        for _ in range(20):
            control.health.sweep()
        for sign in control.health._shelf:
            control.health._judge(sign)

    it.call(age)
    page = visit("/signs", it).page
    sign_in(page, it.token("dispatcher"))
    page.locator("#alarms.is-loud", has_text="1").click()
    row = page.locator("dialog .alarm", has_text="LS-00004")
    row.locator("button", has_text="确认").click()
    page.locator("dialog .alarm", has_text="某dispatcher 已确认").wait_for()
    page.locator("dialog .alarm .link").click()
    page.locator("dialog h2", has_text="LS-00004").wait_for()


def test_a_wrong_token_is_said_and_a_good_one_stays_in_the_tab(
    fleet: Callable[..., Fleet], visit: Callable[..., Any]
) -> None:
    it = fleet()
    one = visit("/signs", it, expect_trouble=True)  # the browser complains of the 401
    page = one.page
    page.fill("#token", "wrong")
    page.keyboard.press("Enter")
    page.locator(".problem", has_text="令牌无效").wait_for()
    token = it.token("viewer")
    sign_in(page, token)
    assert token not in page.url and not any(token in cookie["value"] for cookie in page.context.cookies())
    page.reload()
    page.wait_for_selector(".sign")
    page.click("#leave")
    page.wait_for_selector("#token")


def test_the_feed_comes_back_after_a_restart(fleet: Callable[..., Fleet], visit: Callable[..., Any]) -> None:
    it = fleet()
    page = visit("/signs", it, expect_trouble=True).page
    sign_in(page, it.token("viewer"))
    page.locator('#feed[data-live="true"]').wait_for()
    it.city.stop()
    page.locator('#feed[data-live="false"]').wait_for()
    it.city.start_again()
    page.locator('#feed[data-live="true"]').wait_for()
    it.call(lambda c: c.health.closed("LS-00001", c.clock.now(), 1006))
    page.locator('.sign[data-sign="LS-00001"][data-state="offline"]').wait_for()


def test_english_and_a_phone(fleet: Callable[..., Fleet], visit: Callable[..., Any]) -> None:
    it = fleet()
    page = visit("/signs", it, locale="en-GB", viewport={"width": 360, "height": 740}).page
    sign_in(page, it.token("admin"))
    assert page.title() == "Stop signs"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
    card = page.locator('.sign[data-sign="LS-00000"]')
    assert "Xizhan Cross" in card.inner_text() and "Online" in card.inner_text()
    card.click()
    page.locator("dialog h3", has_text="Remote care").wait_for()
    assert page.evaluate("document.querySelector('dialog').scrollWidth <= innerWidth")
    page.locator("dialog button", has_text="New token").click()
    page.locator("dialog .answer", has_text="Write it down").wait_for()
    page.keyboard.press("Escape")
    page.locator("#languages button", has_text="中文").click()
    page.locator(".chip", has_text="在线").wait_for()


def test_the_words_of_both_languages_fit_together() -> None:
    import json
    from importlib.resources import files

    words = {
        tag: json.loads((files("busd.web") / f"static/i18n/signs.{tag}.json").read_text("utf-8"))
        for tag in ("zh-Hans", "en")
    }
    assert set(words["zh-Hans"]) == set(words["en"])
    for key, phrase in words["en"].items():
        holes = set(re.findall(r"\{(\w+)\}", json.dumps(phrase)))
        assert set(re.findall(r"\{(\w+)\}", json.dumps(words["zh-Hans"][key]))) <= holes, key
    used = set()
    for file in (files("busd.web") / "static/js").iterdir():
        if file.name.startswith("signs"):
            used |= set(re.findall(r'\bt\("([a-z_0-9]+)"', file.read_text("utf-8")))
    assert used <= set(words["en"]), used - set(words["en"])
