const explorer = document.querySelector("openapi-explorer");

// The viewer needs absolute URLs. Requests go to the service that this page comes from, below its path.
explorer.setAttribute("server-url", new URL("..", document.baseURI).href.replace(/\/$/, ""));

// The viewer's links differ from the text around them only by colour, so underline them.
await customElements.whenDefined("openapi-explorer");
const links = new CSSStyleSheet();
links.replaceSync("a { text-decoration: underline; }");
explorer.shadowRoot.adoptedStyleSheets = [...explorer.shadowRoot.adoptedStyleSheets, links];
