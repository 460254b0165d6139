// Browsers refuse workers to pages that were opened from disk: there, a hidden frame runs the search instead.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      this.scope = frame.contentWindow
      this.scope.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
      const load = source =>
        new Promise((resolve, reject) => {
          const script = frame.contentDocument.createElement("script")
          Object.assign(script, { src: source, onload: resolve, onerror: reject })
          frame.contentDocument.body.append(script)
        })
      this.scope.importScripts = (...sources) =>
        sources.reduce((earlier, source) => earlier.then(() => load(source)), Promise.resolve())
      this.ready = load(url)
    }

    postMessage(data) {
      this.ready.then(() => this.scope.dispatchEvent(new MessageEvent("message", { data })))
    }
  }
}
