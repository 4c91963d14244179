// What the browser tests share: a page that is tried, and what was not as expected of it.

import { openPage } from "./browser.mjs";

/**
 * Opens a page for a test, as `openPage` does. `run(test)` never throws: what breaks the test, and what the page complains of
 * unless it fits `excused`, become `failures` like whatever did not hold. Any failure makes the process exit with 1.
 */
export async function openTrial({ excused, ...how } = {}) {
  const { browser, page, complaints } = await openPage(how);
  const failures = [];
  const expect = (holds, message) => {
    if (!holds) failures.push(message);
  };
  const run = async (test) => {
    try {
      await test();
    } catch (error) {
      failures.push(`the page could not be tested: ${error.message}`);
    } finally {
      await browser.close();
    }
    const ours = complaints.filter((text) => !excused?.test(text));
    expect(ours.length === 0, `expected no console errors, saw: ${ours.join(" | ")}`);
  };
  return { page, failures, expect, run };
}

/** For people: `good`, or what failed. */
export function tell(failures, good) {
  for (const failure of failures) console.error(`FAILED ${failure}`);
  console.log(failures.length === 0 ? good : `${failures.length} failures`);
  settle(failures);
}

/** For programs: one JSON object, in one line or indented. */
export function print(report, { json }) {
  report.ok = report.failures.length === 0;
  console.log(JSON.stringify(report, null, json ? 0 : 2));
  settle(report.failures);
}

function settle(failures) {
  process.exitCode = failures.length === 0 ? 0 : 1;
}
