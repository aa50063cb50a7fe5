"""The page in a real browser, where there is one."""

import re
import shutil
import subprocess

import pytest

from lightning_al.drawing.markup import Html, name_of, table, tag
from lightning_al.report import write_html
from tests.helpers.curves import write_campaign

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: the page is not looked at in a browser"),
]
MEASURE = """<script>
addEventListener('load',function(){var e=document.documentElement,b=document.body.dataset;
b.wide=e.scrollWidth-innerWidth;b.tips=document.querySelectorAll('[data-tip]').length;
b.titles=document.querySelectorAll('svg title').length;
var s=document.querySelector('.read rect'),r=s.getBoundingClientRect();
s.dispatchEvent(new PointerEvent('pointermove',{bubbles:true,clientX:r.x+1,clientY:r.y+1}));
b.tip=document.getElementById('tip').textContent;b.shown=getComputedStyle(document.getElementById('tip')).display;
dispatchEvent(new Event('beforeprint'));b.shut=document.querySelectorAll('details:not([open])').length;
dispatchEvent(new Event('afterprint'));b.again=document.querySelectorAll('details:not([open])').length;
b.broken='';document.querySelectorAll('figcaption bdi').forEach(function(e){e.childNodes.forEach(function(n){
if(n.nodeType!=3)return;n.textContent.replace(/\\S+/g,function(word,at){var r=document.createRange();r.setStart(n,at);
r.setEnd(n,at+word.length);if(r.getClientRects().length>1)b.broken+=word+' '})})});
var w=document.getElementById('scrolls').closest('.wide');s=getComputedStyle(w);
b.shades=s.backgroundImage.split('linear-gradient(to').length-1+' '+s.backgroundAttachment;
b.over=w.scrollWidth>w.clientWidth;
b.loads=performance.getEntriesByType('resource').filter(function(x){return !x.name.startsWith('data:')}).length})
</script></body>"""


def chromium(folder, *words):
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    return subprocess.run([*command, *words], capture_output=True, text=True, timeout=600, check=True).stdout


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for number, method in enumerate(("a-method-with-a-rather-long-name-indeed", "random")):
        for seed in range(5):
            values = [0.4 + 0.01 * seed, 0.5, 0.6 + 0.01 * number]
            write_campaign(root / method / f"seed_{seed}", values, options={"seed": seed})
    return write_html(root)


@pytest.mark.parametrize("width", [1200, 390])
def test_charts_say_their_numbers_and_nothing_is_wider_than_the_window(page, tmp_path, width):
    copy = tmp_path / "page.html"
    name = tag("figcaption", tag("b", name_of("not answered yet")), Html("<br>"), name_of("sheets/00/s0026.png"))
    tiles = tag("div", *[tag("figure", name, class_="tile")] * 9, class_="tiles small")
    wide = table([["a head of some words"] * 3, [1, 2, 3]], name="scrolls")
    copy.write_text(page.read_text().replace("</body>", f"{tag('main', tiles, wide)}{MEASURE}"))
    # A headless window is no narrower than some 500 pixels; a frame is.
    frame = tmp_path / "frame.html"
    words = [f"--window-size={max(width, 500)},900", "--allow-file-access-from-files", "--virtual-time-budget=5000"]
    target = copy if width > 500 else frame
    if target is frame:
        frame.write_text(
            f'<iframe id="f" src="page.html" width="{width}" height="900"></iframe><script>'
            "setTimeout(function(){var d=document.getElementById('f').contentDocument.body.dataset;"
            "for(var k in d)document.body.dataset[k]=d[k]},3000)</script>"
        )
    dom = chromium(tmp_path, *words, "--dump-dom", target.as_uri())
    body = re.search(r"<body[^>]*>", dom)[0]
    found = dict(re.findall(r'data-(\w+)="([^"]*)"', body))
    assert int(found["wide"]) <= 0
    assert int(found["tips"]) > 0
    assert int(found["titles"]) == 0
    assert found["tip"].startswith("20 labels\na-method")
    assert (found["shown"], found["shut"], found["loads"]) == ("block", "0", "0")
    assert int(found["again"]) > 0
    assert found["broken"] == ""
    assert found["shades"] == "4 local, local, scroll, scroll"
    assert found["over"] == str(width == 390).lower()


def test_it_prints(page, tmp_path):
    chromium(tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={tmp_path / 'page.pdf'}", page.as_uri())
    pdf = (tmp_path / "page.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 14
