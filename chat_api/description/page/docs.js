const explorer = document.querySelector("openapi-explorer");

// The viewer wants whole addresses: requests go to the service that this page comes from, below its path.
explorer.setAttribute("server-url", new URL("..", document.baseURI).href.replace(/\/$/, ""));

// Its links differ from the text around them in their colour only.
await customElements.whenDefined("openapi-explorer");
const links = new CSSStyleSheet();
links.replaceSync("a { text-decoration: underline; }");
explorer.shadowRoot.adoptedStyleSheets = [...explorer.shadowRoot.adoptedStyleSheets, links];
