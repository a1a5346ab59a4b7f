const EMPTY = [204, 205, 304]; // responses with these may have no body

/**
 * Like fetch, but tells how much of the body was sent. fetch doesn't, so this is for where there is XMLHttpRequest.
 *
 * @param {URL} url
 * @param {{method: string, headers: Headers, body: any, signal?: AbortSignal}} request
 * @param {(sent: number, total: number) => void} onSent bytes
 * @returns {Promise<Response>}
 */
export function upload(url, { method, headers, body, signal }, onSent) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const encoder = new TextEncoder();
    let received = null; // where the response's body goes, once its headers are here
    let read = 0;
    const pass = () => {
      received.enqueue(encoder.encode(request.responseText.slice(read)));
      read = request.responseText.length;
    };
    const fail = () => {
      const error = new TypeError("Failed to fetch");
      if (received) received.error(error);
      else reject(error);
    };
    const end = () => {
      pass();
      received.close();
    };
    const begin = () => {
      if (request.readyState !== request.HEADERS_RECEIVED) return;
      const cancel = () => request.abort();
      const stream = new ReadableStream({ start: (controller) => void (received = controller), cancel });
      const { status } = request;
      resolve(new Response(EMPTY.includes(status) ? null : stream, { status, headers: headersOf(request) }));
    };
    request.upload.addEventListener("progress", ({ loaded, total }) => onSent(loaded, total));
    request.addEventListener("readystatechange", begin);
    request.addEventListener("progress", pass);
    request.addEventListener("load", end);
    request.addEventListener("error", fail);
    request.open(method, url);
    headers.forEach((value, name) => request.setRequestHeader(name, value));
    const stop = () => {
      request.abort();
      fail();
    };
    if (signal?.aborted) return stop();
    signal?.addEventListener("abort", stop);
    request.send(body);
  });
}

function headersOf(request) {
  const lines = request.getAllResponseHeaders().trim().split("\r\n").filter(Boolean);
  return new Headers(lines.map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]));
}
