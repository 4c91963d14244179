/** The nodes that serve viewers: how full each is, how far it is from the shown stream, and how many it has. */

import { millis, percent } from "../format";
import { CardSection } from "./parts";
import { pops, selected, shown } from "./store";

export function Pops() {
  const known = [...pops.value].sort((a, b) => (a.metricMs ?? Infinity) - (b.metricMs ?? Infinity) || a.name.localeCompare(b.name));
  return (
    <CardSection name="pops" title="PoPs">
      {known.length === 0 ? (
        <p class="quiet">No node serves viewers.</p>
      ) : (
        <table>
          <thead>
            <tr>
              <th scope="col">at</th>
              <th scope="col" class="figure">
                viewers
              </th>
              <th scope="col" class="figure" title="share of what it can give that is in use">
                load
              </th>
              <th scope="col" class="figure" title={`cost from the nearest origin of ${shown.value?.name ?? "a stream"}`}>
                from origin
              </th>
            </tr>
          </thead>
          <tbody>
            {known.map((pop) => (
              <tr key={pop.name} data-up={pop.reachable}>
                <th scope="row">
                  <button
                    type="button"
                    class="name-button"
                    onClick={() => {
                      selected.value = { node: pop.name };
                    }}
                  >
                    {pop.name}
                  </button>
                  {!pop.reachable && <span class="problem"> not reached</span>}
                </th>
                <td class="figure" title={pop.viewersMax === undefined ? "it does not tell this page" : `${pop.viewersMax} at most`}>
                  {pop.viewers ?? "–"}
                </td>
                <td class="figure">
                  <meter aria-label={`Load of ${pop.name}`} value={pop.load} high={0.6} optimum={0} />
                  {percent(pop.load)}
                </td>
                <td class="figure">{pop.metricMs === undefined ? "–" : millis(pop.metricMs)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </CardSection>
  );
}
