// The script of the frame `/diagram`: it draws the sources that the page posts, and posts images back.
(() => {
  const SETTINGS = {
    startOnLoad: false,
    securityLevel: 'strict',
    suppressErrorRendering: true,
    maxTextSize: 50_000,
    maxEdges: 500,
    htmlLabels: false,
    flowchart: { htmlLabels: false },
    fontFamily: 'system-ui, sans-serif',
  };
  // A source cannot change these.
  const FIXED = [...Object.keys(SETTINGS), 'secure', 'themeCSS', 'dompurifyConfig'].filter((key) => key !== 'flowchart');

  async function drawn(source, dark) {
    mermaid.initialize({ ...SETTINGS, secure: FIXED, theme: dark ? 'dark' : 'default' });
    const { svg } = await mermaid.render('diagram', source);
    document.body.innerHTML = svg;
    const node = document.body.querySelector('svg');
    const { width, height } = node.viewBox.baseVal;
    node.setAttribute('width', width);
    node.setAttribute('height', height);
    node.style.removeProperty('max-width');
    return { svg: new XMLSerializer().serializeToString(node), width, height };
  }

  addEventListener('message', async ({ source: sender, data }) => {
    if (sender !== parent) return;
    const image = await drawn(data.source, data.dark).catch(() => ({}));
    document.body.replaceChildren();
    parent.postMessage({ number: data.number, ...image }, '*');
  });
  parent.postMessage({ ready: true }, '*');
})();
