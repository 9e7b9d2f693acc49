/** What this program uses of proxy-from-env 2, which comes without types. */
declare module 'proxy-from-env' {
  /** The proxy that the environment names for a URL (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY); empty for none. */
  export function getProxyForUrl(url: string): string
}
