// Opens the pages in Chromium at four sizes and schemes, keeps pictures, and prints what the pages computed.
import { createRequire } from "node:module";
import path from "node:path";

const [packages, address, pictures, executablePath] = process.argv.slice(2);
const { chromium } = createRequire(path.join(path.resolve(packages), "package.json"))("playwright-core");
const flags = "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", ...flags.split(" ")] });
const results = {};
for (const [size, viewport] of [["desk", { width: 900, height: 760 }], ["phone", { width: 390, height: 760 }]]) {
  for (const colorScheme of ["light", "dark"]) {
    const context = await browser.newContext({ viewport, colorScheme });
    for (const name of ["dino", "sentences"]) {
      const page = await context.newPage();
      page.on("pageerror", (error) => console.error(`${name}: ${error}`));
      page.on("request", (request) => {
        if (!request.url().startsWith(address) && !request.url().startsWith("blob:")) console.error(`${name} asks for ${request.url()}`);
      });
      await page.goto(`${address}/${name}.html`);
      await page.waitForFunction("globalThis.result !== undefined", null, { timeout: 120_000 });
      await page.screenshot({ path: path.join(pictures, `${name}-${size}-${colorScheme}.png`) });
      const wide = await page.evaluate("document.documentElement.scrollWidth > innerWidth");
      if (wide) console.error(`${name} is wider than ${size}`);
      results[name] = await page.evaluate("globalThis.result");
      if (name === "sentences") {
        await page.fill("#question", "When do I have to get up for the birds?");
        await page.waitForFunction("document.querySelector('li').textContent.includes('irds')", null, { timeout: 60_000 });
        results.asked = await page.locator("li").allTextContents();
      }
      await page.close();
    }
    await context.close();
  }
}
await browser.close();
process.stdout.write(JSON.stringify(results));
