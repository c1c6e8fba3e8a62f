"""The page in a real browser, served by the real server: what a rider sees and does."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install busd[dev])")
expect = playwright.expect

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
Visit = Callable[..., Any]


def one_bus(world: Any) -> list[Any]:
    world.vehicles[:] = [world.progress("1207", "1-8", 700)]
    return [
        world.board(
            "C",
            world.departure("C", "1-8", 330, stops_away=2, age_s=4, vehicle_id="1207"),
            world.departure("C", "旅游3路-9", 1500, basis=0),
        )
    ]


def test_a_rider_finds_a_stop_and_sees_its_board(live: Any, visit: Visit) -> None:
    live.publish(one_bus)
    page = visit().page
    page.get_by_label("查找站点").fill("xiguan")
    results = page.locator("#results li")
    expect(results).to_have_count(1)
    expect(results).to_contain_text("西关什字")
    expect(results).to_contain_text("Xiguan Cross")
    results.locator("a").click()
    expect(page).to_have_url(re.compile(r"#/stop/C$"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("西关什字")
    first = page.locator(".dep").first
    expect(first).to_contain_text("东岗")
    expect(first).to_contain_text("Donggang")
    expect(first.locator(".time")).to_contain_text("5")
    expect(first).to_contain_text("实时")
    expect(first).to_contain_text("还有\u00a02\u00a0站")
    second = page.locator(".dep").nth(1)
    expect(second).to_contain_text("时刻表")
    expect(second.locator(".time-big")).to_have_text(re.compile(r"^\d\d:\d\d$"))
    expect(page.locator(".status")).to_have_text("实时更新")
    expect(page).to_have_title(re.compile("^西关什字"))


def test_by_keyboard_alone(live: Any, visit: Visit) -> None:
    live.publish(one_bus)
    page = visit().page
    page.keyboard.press("Tab")
    expect(page.locator("#skip")).to_be_focused()
    search = page.get_by_label("查找站点")
    search.focus()
    page.keyboard.type("cross")
    expect(page.locator("#results li")).to_have_count(3)
    page.keyboard.press("ArrowDown")
    expect(page.locator("#results a").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"#/stop/"))
    expect(page.locator("#panel")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="返回")).to_be_focused()


def test_a_new_board_comes_without_a_reload(live: Any, visit: Visit) -> None:
    live.publish(one_bus)
    page = visit("/#/stop/C").page
    expect(page.locator(".dep")).to_have_count(2)
    page.evaluate("window.marker = 'still the same page'")

    def newer(world: Any) -> list[Any]:
        return [
            world.board(
                "C",
                world.departure("C", "1-7", 3, status=1, stops_away=0, vehicle_id="1"),
                world.departure("C", "1/back-8", 700, vehicle_id="2"),
                world.departure("C", "1-9", 900, status=3, pred_at=None),
                messages=[world.message({"zh-Hans": "绕行庆阳路", "en": "Diverted"})],
            )
        ]

    live.publish(newer)
    expect(page.locator(".dep")).to_have_count(3)
    expect(page.locator(".dep").first.locator(".time")).to_contain_text("即将进站")
    expect(page.locator(".dep").nth(1)).to_contain_text("西站什字")
    expect(page.locator('.dep[data-state="dropped"]')).to_contain_text("停运")
    expect(page.locator(".message")).to_contain_text("绕行庆阳路")
    assert page.evaluate("window.marker") == "still the same page"


def test_its_bus_is_on_the_map_and_moves(live: Any, visit: Visit) -> None:
    live.publish(one_bus)
    page = visit("/#/stop/C", reduced_motion="reduce").page
    bus = page.locator('.bus-marker[data-vehicle="1207"]')
    expect(bus).to_be_visible()
    expect(bus).to_have_text("1")
    expect(bus).to_have_attribute("aria-label", re.compile("1路，开往 东岗"))
    before = bus.bounding_box()

    def moved(world: Any) -> None:
        world.vehicles[:] = [world.progress("1207", "1-8", 1000)]

    live.call(moved)
    page.wait_for_function(
        "x => document.querySelector('[data-vehicle=\"1207\"]').getBoundingClientRect().x > x + 5", arg=before["x"]
    )
    bus.click()
    expect(page.locator(".bus-card")).to_contain_text("1207")
    live.call(lambda world: world.vehicles.clear())
    expect(bus).to_have_count(0)


def test_a_tap_on_the_map_opens_a_stop(live: Any, visit: Visit) -> None:
    page = visit("/").page
    live.call(lambda world: world.vehicles.append(world.progress("1207", "1-8", 0)))
    bus = page.locator('.bus-marker[data-vehicle="1207"]')
    expect(bus).to_be_visible()
    box = bus.bounding_box()  # it stands at stop A, so that is where A is on the map
    live.call(lambda world: world.vehicles.clear())
    expect(bus).to_have_count(0)
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page).to_have_url(re.compile(r"#/stop/A$"))


def test_on_a_phone(live: Any, visit: Visit) -> None:
    live.publish(one_bus)
    page = visit("/#/stop/C", **PHONE).page
    expect(page.locator(".dep").first).to_be_in_viewport()
    expect(page.locator(".bus-marker")).to_be_visible()
    for path in ("#/", "#/lines", "#/line/K2", "#/stop/C"):
        page.evaluate("(hash) => { location.hash = hash; }", path)
        expect(page.locator("#panel a").first).to_be_visible()
        width = page.evaluate("document.scrollingElement.scrollWidth")
        panel = page.evaluate(
            "(() => { const p = document.getElementById('panel'); return p.scrollWidth - p.clientWidth; })()"
        )
        assert (width, panel) == (360, 0), path
    for name in ("EN", "中文"):
        box = page.locator("#languages button", has_text=name).bounding_box()
        assert box["x"] + box["width"] <= 360
        assert box["height"] >= 24  # WCAG 2.2, 2.5.8


def test_languages(live: Any, visit: Visit) -> None:
    live.publish(one_bus)
    page = visit("/#/stop/C").page
    expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")
    page.get_by_role("button", name="English").click()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    expect(page.locator(".view-title .name")).to_have_text("Xiguan Cross")
    expect(page.locator(".view-title .name-second")).to_have_text("西关什字")
    expect(page.locator(".dep").first).to_contain_text("Live")
    expect(page.locator(".dep").first).to_contain_text("2\u00a0stops\u00a0away")
    page.get_by_role("button", name="བོད་ཡིག").click()
    expect(page.locator(".view-title .name")).to_have_attribute("lang", "bo")
    expect(page.locator(".view-title .name")).to_have_text("ཞི་ཀོན་འབབ་ཚུགས།")
    page.reload()
    expect(page.locator("html")).to_have_attribute("lang", "bo")


def test_dark_by_the_system_and_by_choice(live: Any, visit: Visit) -> None:
    def ground(page: Any) -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    page = visit("/", color_scheme="dark").page
    expect(page.locator(".stops li").first).to_be_visible()
    dark = ground(page)
    page.locator("#theme").click()
    assert ground(page) == dark
    page.locator("#theme").click()
    assert ground(page) != dark
    light = ground(page)
    page.reload()
    expect(page.locator(".stops li").first).to_be_visible()
    assert ground(page) == light


def test_text_from_outside_stays_text(live: Any, visit: Visit) -> None:
    payload = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>'

    def hostile(world: Any) -> list[Any]:
        world.vehicles[:] = [world.progress("<b>9</b>", "1-8", 700, label=payload)]
        departure = world.departure("C", "1-8", 300, vehicle_id="<b>9</b>", stops_away=1)
        return [world.board("C", departure, messages=[world.message({"zh-Hans": payload, "en": payload + "2"})])]

    live.publish(hostile)
    page = visit("/#/stop/C").page
    expect(page.locator(".message-first")).to_have_text(payload)
    page.locator(".bus-marker").click()
    expect(page.locator(".bus-card")).to_contain_text(payload)
    assert page.evaluate("window.pwned === undefined")
    assert page.locator("#panel img, #panel script, #map img[src=x]").count() == 0
    page.goto(live.url + "/#/stop/" + "%3Cimg%20src%3Dx%20onerror%3Dwindow.pwned%3D1%3E")
    expect(page.get_by_role("heading", level=1)).to_have_text("没有这个站点")
    page.evaluate("(hash) => { location.hash = hash; }", "#/")
    page.get_by_label("查找站点").fill(payload)
    expect(page.locator("#panel .empty")).to_contain_text(payload)
    assert page.evaluate("window.pwned === undefined")


def test_a_name_with_angle_brackets_in_the_timetable(live: Any, visit: Visit) -> None:
    page = visit("/#/stop/M").page
    expect(page.locator(".view-title .name")).to_have_text("兰山 <公园>")


def test_without_the_server_the_page_says_so_and_comes_back(live: Any, visit: Visit) -> None:
    live.publish(one_bus)
    page = visit("/#/stop/C", expect_trouble=True).page
    expect(page.locator(".status")).to_have_text("实时更新")
    live.stop()
    expect(page.locator(".status")).to_have_text(re.compile(r"^正在重新连接 · 数据截至 \d\d:\d\d$"))
    expect(page.locator(".dep").first).to_contain_text("实时")  # still within its ttl
    live.start_again()
    live.publish(one_bus)
    expect(page.locator(".status")).to_have_text("实时更新", timeout=30_000)


def test_a_board_that_nobody_refreshes_falls_back_to_the_timetable(open_city: Callable[..., Any], visit: Visit) -> None:
    city = open_city(speed=24.0)  # so that its ttl of 90 s is over in 4

    def far(world: Any) -> list[Any]:
        return [world.board("C", world.departure("C", "1-8", 1830, stops_away=2, age_s=4))]

    city.publish(far)
    page = visit("/#/stop/C", city=city, expect_trouble=True).page
    expect(page.locator(".dep .tag").first).to_have_text("实时")
    city.stop()
    expect(page.locator(".status")).to_have_text(re.compile(r"^无连接 · 数据截至 \d\d:\d\d$"), timeout=30_000)
    expect(page.locator(".dep .tag").first).to_have_text("时刻表")
    expect(page.locator(".dep").first).not_to_contain_text("还有")
    expect(page.locator(".dep .time-big").first).to_have_text(re.compile(r"^\d\d:\d\d$"))
    city.start_again()


def test_simulated_buses_are_labelled(visit: Visit) -> None:
    page = visit("/").page
    expect(page.locator("#simulated")).to_have_text("模拟数据")
    expect(page.locator("#map-note")).to_be_visible()


def test_real_buses_are_not(open_city: Callable[..., Any], browser: Any) -> None:
    page = browser.new_page()
    page.goto(open_city(simulated=False).url)
    expect(page.locator(".stops li").first).to_be_visible()
    expect(page.locator("#simulated")).to_be_hidden()
    expect(page.locator("#map-note")).to_be_hidden()
    page.close()


def test_times_are_in_the_zone_of_the_city(live: Any, visit: Visit) -> None:
    def scheduled(world: Any) -> list[Any]:
        return [world.board("C", world.departure("C", "1-8", 1800, basis=0), state="schedule")]

    live.publish(scheduled)
    at = live.call(lambda world: world.bus.latest("C").departures[0].sched_at)
    shanghai = datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo("Asia/Shanghai")).strftime("%H:%M")
    page = visit("/#/stop/C", timezone_id="America/New_York").page
    expect(page.locator(".dep .time-big")).to_have_text(shanghai)
    expect(page.locator(".status")).to_have_text("暂无实时数据，仅显示时刻表")


def test_a_wrong_clock_of_the_phone_does_not_matter(live: Any, visit: Visit) -> None:
    """The test's city lives on another day than the machine, and minutes are right all the same."""
    live.publish(one_bus)
    page = visit("/#/stop/C").page
    expect(page.locator(".dep .time-big").first).to_have_text("5")


def test_line_page_shows_stops_in_order_and_buses_between(live: Any, visit: Visit) -> None:
    live.publish(one_bus)
    page = visit("/#/line/1").page
    expect(page.locator(".diagram-stop .name")).to_have_text(
        ["西站什字", "小西湖", "西关什字", "南关什字", "兰州大学", "东岗"]
    )
    expect(page.locator(".diagram-stop").nth(1).locator(".diagram-bus")).to_have_count(1)
    page.get_by_role("button", name="开往 西站什字").click()
    expect(page.locator(".diagram-stop .name").first).to_have_text("东岗")
    expect(page.locator(".diagram-bus")).to_have_count(0)


def test_saved_stops_are_on_the_first_page(live: Any, visit: Visit) -> None:
    page = visit("/#/stop/E").page
    page.get_by_role("button", name="收藏本站").click()
    expect(page.get_by_role("button", name="取消收藏")).to_be_visible()
    page.get_by_role("link", name="返回").click()
    expect(page.get_by_role("region", name="收藏的站点")).to_contain_text("兰州大学")


def test_route_colours_can_be_read(visit: Visit) -> None:
    """K2 is white on yellow in the feed."""
    page = visit("/#/lines").page
    badge = page.locator(".lines .badge", has_text="K2")
    expect(badge).to_be_visible()
    foreground, background = badge.evaluate("(n) => [getComputedStyle(n).color, getComputedStyle(n).backgroundColor]")
    assert background == "rgb(255, 210, 0)"
    assert foreground == "rgb(0, 0, 0)"
    ratios = page.evaluate(
        """async () => {
            const { badgeColours, contrast, strokeColour } = await import('/static/js/colour.js');
            const worst = { badge: 21, stroke: 21 };
            for (let i = 0; i < 4096; i += 7) {
                const hex = [i >> 8, (i >> 4) & 15, i & 15].map((v) => (v * 17).toString(16).padStart(2, '0')).join('');
                for (const text of ['ffffff', '000000', 'ff0000']) {
                    const { bg, fg } = badgeColours(hex, text);
                    worst.badge = Math.min(worst.badge, contrast(bg.slice(1), fg.slice(1)));
                }
                for (const ground of ['e6ebec', '10181c']) {
                    worst.stroke = Math.min(worst.stroke, contrast(strokeColour(hex, ground).slice(1), ground));
                }
            }
            return worst;
        }"""
    )
    assert ratios["badge"] >= 4.5
    assert ratios["stroke"] >= 3.0
