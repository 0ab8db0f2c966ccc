"""Take the pictures of this documentation from a running platform: python docs/take_pictures.py [URL] [FOLDER] [URL of the reports].

Needs Debian's chromium and chromium-driver, and `plumbline dev` running for some minutes.
"""

import sys
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic",
]  # fmt: skip


def browser(width: int, height: int) -> webdriver.Chrome:
    """A headless Chromium that looks nothing up outside."""
    options = Options()
    for flag in [*FLAGS, f"--window-size={width},{height}"]:
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))


def shown_markdown(driver: webdriver.Chrome, url: str, asset: str) -> None:
    """Open an asset's page and the picture in its metadata."""
    driver.get(f"{url}/assets/{asset}")
    time.sleep(8)
    links = [one for one in driver.find_elements(By.XPATH, "//*[contains(text(), 'Show Markdown')]") if one.is_displayed()]
    links[-1].click()
    time.sleep(2)


def main() -> None:
    """Take every picture."""
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3000"
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent / "pictures"
    reports = sys.argv[3] if len(sys.argv) > 3 else "http://127.0.0.1:3001"
    driver = browser(2400, 1100)
    try:
        driver.get(f"{url}/asset-groups/?expanded=global%40global%3Aweather_station")
        time.sleep(10)
        driver.save_screenshot(str(folder / "lineage.png"))
        driver.set_window_size(1500, 1000)
        for name in ("drift_report", "realized_performance"):
            shown_markdown(driver, url, f"weather_station/{name}")
            driver.save_screenshot(str(folder / f"{name}.png"))
        driver.get(f"{url}/runs?q%5B0%5D=job%3Aweather_station__retrain")
        time.sleep(6)
        driver.save_screenshot(str(folder / "retraining_runs.png"))
        driver.set_window_size(1000, 1120)
        driver.get(f"{reports}/weather_station/1982-01-01.html")
        driver.save_screenshot(str(folder / "report.png"))
    finally:
        driver.quit()


if __name__ == "__main__":
    main()
