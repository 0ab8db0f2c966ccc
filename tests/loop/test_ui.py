"""What a person looks at: the pictures in the metadata truly render in the Dagster UI, in a real browser."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import dagster as dg
import pytest
import synthetic

from monitoring_assets.definitions import build_defs
from resources.settings import PROJECT, Settings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not shutil.which("chromium") or not shutil.which("chromedriver"), reason="needs Debian's chromium and chromium-driver"
    ),
    pytest.mark.filterwarnings("ignore"),  # selenium leaves sockets to the garbage collector
]
CHUNK = "2024-02-12"
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def ui(tmp_path):
    home, dagster_home = tmp_path / "home", tmp_path / "dagster"
    dagster_home.mkdir()
    (dagster_home / "dagster.yaml").write_text("telemetry: {enabled: false}\nnux: {enabled: false}\n")
    models = synthetic.declare(tmp_path, synthetic.make_log(fault="shift"))
    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        job = build_defs(Settings.of(home, models)).resolve_job_def("shop__monitor")
        assert job.execute_in_process(instance=instance, partition_key=CHUNK).success
    port = free_port()
    env = {**os.environ, "DAGSTER_HOME": str(dagster_home), "PLUMBLINE_HOME": str(home), "PLUMBLINE_MODELS": str(models)}
    server = subprocess.Popen(
        [str(Path(sys.executable).parent / "dagster-webserver"), "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)],
        cwd=PROJECT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{url}/server_info", timeout=2).close()
                break
            except OSError:
                time.sleep(0.5)
        yield url
    finally:
        server.terminate()
        server.wait(30)


def test_the_drift_picture_renders_on_the_asset_page(ui):
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    options = Options()
    for flag in [*FLAGS, "--window-size=1500,1000"]:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        driver.get(f"{ui}/assets/shop/drift_report")
        link = "//*[contains(text(), 'Show Markdown')]"
        WebDriverWait(driver, 60).until(lambda page: [one for one in page.find_elements(By.XPATH, link) if one.is_displayed()])
        [one for one in driver.find_elements(By.XPATH, link) if one.is_displayed()][-1].click()
        width = "const all = [...document.images].filter(one => one.src.startsWith('data:image/png')); return all.length ? all[0].naturalWidth : 0"
        assert WebDriverWait(driver, 30).until(lambda page: page.execute_script(width)) > 400
        assert "drifted_features" in driver.page_source
    finally:
        driver.quit()
