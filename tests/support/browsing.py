"""Pages in a real browser: what opens them, and how well their texts can be read."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

CHROMIUM = shutil.which("chromium")

PHONE = {"width": 390, "height": 844}

CONTRAST = """
selectors => {
  const numbers = colour => {
    const found = colour.match(/[\\d.]+/g).map(Number);
    return colour.startsWith("color") ? found.slice(0, 3) : found.slice(0, 3).map(v => v / 255);
  };
  const light = colour => {
    const [r, g, b] = numbers(colour).map(
      v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const ground = element => {
    const colour = getComputedStyle(element).backgroundColor;
    return colour === "rgba(0, 0, 0, 0)" ? ground(element.parentElement) : colour;
  };
  return [...document.querySelectorAll(selectors)].map(element => {
    const pair = [light(getComputedStyle(element).color), light(ground(element))];
    return Math.max(...pair) / Math.min(...pair);
  });
}
"""
"""Contrast of each element's text with what lies behind it (WCAG 2.1, relative luminance)."""


@contextmanager
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()
