"""What may go wrong at the stand-in CardDAV server, by name; `DavServer.faults` holds the names in force."""

from __future__ import annotations

from typing import Literal, get_args

Fault = Literal[
    "absolute_href",  # hrefs are whole addresses, with a host nobody knows
    "bad_card",  # a report that asks for bad.vcf, and a GET of it, answer 500
    "bearer",  # only a bearer token logs in
    "cut_midway",  # reports and lists end half way, the connection with them
    "digest",  # only Digest logs in, by MD5
    "digest_sha256",  # the same by SHA-256
    "empty",  # every multistatus is without a row
    "empty_delta_new_token",  # nothing changed, says every delta, and gives another token
    "empty_token_400",  # a first sync-collection is refused
    "full_list_as_delta",  # every delta is the whole list, without deletions
    "google_depth1",  # an empty token is refused, and a delta with Depth 0 says that nothing changed
    "html_200",  # every answer is a login page
    "invalid_token_403",  # no token is taken
    "invalid_token_412",
    "lowercase_escapes",  # hrefs are escaped with lower-case digits, and less than they were
    "made_anew",  # a token of another life of the book is answered with an empty delta and a new token
    "multiget_413_over_n",  # more than `most` cards at once are refused
    "multiget_501",  # there is no addressbook-multiget
    "multiget_omits_missing",  # a card that is not there is left out of the answer
    "no_ctag",  # neither ctag nor sync-token is told
    "no_principal",  # nobody says who is logged in
    "no_sync_collection",  # the report is neither offered nor done
    "page_507",  # lists of sync-collection come `most` rows at a time
    "redirect_wellknown",  # the root is no DAV, and /.well-known/carddav leads to a dead port of this host
    "slow",  # every answer takes `delay` seconds
    "status_401",
    "status_429",
    "status_500",
    "status_503",
    "sync_data_500",  # a list with the cards in it is too much
    "sync_data_spoilt",  # one of the cards spoils that list
    "sync_with_data",  # a list brings the cards along if asked to, as Radicale and sabre do
    "truncated_xml",  # every multistatus lacks its end
    "unechoed",  # a plain list leaves the book itself out
    "weak_etags",  # ETags change their dress from answer to answer
    "wrong_root",  # answers are XML of another kind
]
FAULTS: tuple[Fault, ...] = get_args(Fault)

STATUSES = {"status_401": 401, "status_429": 429, "status_500": 500, "status_503": 503}
LOGIN_PAGE = "<!DOCTYPE html><html><head><title>Log in</title></head><body><form></form></body></html>"
