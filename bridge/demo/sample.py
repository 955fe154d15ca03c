"""The customers of a company that does not exist, in Luxembourg, Germany, Switzerland and France.

Their numbers are written as people write them. Where a country keeps numbers for films and books, they are of those.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

TEXT = """
Marc Weber      | Boulangerie Weber      | work 26 00 10 01     | cell 621 000 001
Josette Thill   | Boulangerie Weber      | work 26 00 10 02     |
Claude Reding   | Reding & Fils          | work (+352) 27 00 10 03 | cell 691 000 003
Martine Kieffer | Étude Kieffer          | work 00352 26 00 10 04 | cell 661-000-004
Paul Muller     | Garage Muller          | work 27.00.10.05     | cell +352 621 000 005
Nadine Hoffmann | Fleurs Hoffmann        | work 26 00 10 06     |
Luc Schiltz     | Schiltz Architectes    | work +352 27 00 10 07 | cell 691 000 007
Carole Wagner   | Fiduciaire Wagner      | work 26 00 10 08     | cell 621 000 008
Georges Faber   | Faber Electricité      | work 26 00 10 09     | cell 661 000 009
Sylvie Bintz    | Hôtel Bintz            | work 26 00 10 10     | cell 691 000 010
Tom Schroeder   | Brasserie Schroeder    | work 27 00 10 11     |
Monique Kremer  | Pharmacie Kremer       | work 27 00 10 12     | cell 621 000 012
Jeff Molitor    | Molitor Transports     | work 27 00 10 13     | cell 621 000 013
Danielle Biver  |                        |                      | cell 691 000 014
Anna Becker     | Becker Maschinenbau GmbH | work +49 (0)30 23125-101 | cell 0049 171 3920015
Jürgen Groß     | Groß & Söhne           | work +49 69 90009 102 | cell +49 171 3920016
Sabine Vogel    | Vogel Verlag           | work +49 89 99998-103 |
Matthias Lang   | Lang Logistik          | work +49 221 4710 104 | cell +49 176 04069018
Katrin Schäfer  | Schäfer Immobilien     | work +49 30 23125 105 | cell +49 171 3920019
Uwe Brandt      | Brandt Haustechnik     | work +49 (69) 90009-106 |
Heike Neumann   | Neumann Optik          | work +49 89 99998 107 | cell +49 176 04069021
Stefan Krüger   | Krüger Software        | work +49 221 4710-108 | cell +49 171 3920022
Petra Winkler   | Winkler Reisen         | work 0049 30 23125109 |
Dieter Jung     | Jung Elektro           | work +49 69 90009 110 | cell +49 171 3920024
Birgit Seidel   | Seidel Mode            | work +49 89 99998 111 |
Frank Horn      | Horn Bau               | work +49 221 4710 112 | cell +49 176 04069026
Claudia Arnold  |                        |                      | cell +49 171 3920027
Reto Keller     | Keller Uhren AG        | work +41 44 500 00 28 | cell +41 79 000 00 28
Ursula Meier    | Meier Treuhand         | work +41 (0)44 500 00 29 |
Beat Zürcher    | Zürcher Holzbau        | work +41 58 500 00 30 | cell +41 78 000 00 30
Chantal Rochat  | Rochat Vins            | work +41 21 500 00 31 | cell +41 76 000 00 31
Olivier Favre   | Favre Horlogerie       | work +41 22 500 00 32 | cell +41 79 000 00 32
Heidi Brunner   | Brunner Gastro         | work 0041 44 500 00 33 |
Marco Bernasconi | Bernasconi Marmi      | work +41 58 500 00 34 | cell +41 79 000 00 34
Regula Frei     | Frei Gartenbau         | work +41 44 500 00 35 |
Yves Perrin     | Clinique Perrin        | work +41 21 500 00 36 | cell +41 78 000 00 36
Nicole Bachmann |                        |                      | cell +41 79 000 00 37
Claire Dubois   | Dubois Traiteur        | work +33 (0)1 99 00 10 38 |
Thierry Lambert | Lambert Conseil        | work +33 1 99 00 10 39 |
Sandrine Girard | Girard Imprimerie      | work +33.4.65.71.10.40 |
Philippe Morel  | Morel Menuiserie       | work 0033 3 53 01 10 41 |
Isabelle Fontaine | Fontaine Notaires    | work +33 1 99 00 10 42 |
Bruno Chevalier | Chevalier Sécurité     | work +33 5 36 49 10 43 |
Aurélie Masson  | Masson Décoration      | work +33 2 61 91 10 44 |
Gilles Renard   | Renard Fruits          | work +33 4 65 71 10 45 |
Émilie Caron    | Caron Voyages          | work +33 3 53 01 10 46 |
Hervé Noël      | Noël Jouets            | work +33 1 99 00 10 47 |
                | Accueil Parc Hôtel     | work 27 00 10 48       |
Pit Hansen      | Accueil Parc Hôtel     | work 27 00 10 49, 27 00 10 50 | cell 621 000 049
Liz Wirth       | Service technique      | work 312               | cell 691 000 050
"""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody in the sample CRM; numbers as written, several in one field."""

    first: str
    last: str
    company: str
    work: str
    cell: str

    @property
    def name(self) -> str:
        """What callers are announced as."""
        return f"{self.first} {self.last}".strip() or self.company

    def renamed(self, last: str) -> Person:
        """The same person with another last name."""
        return replace(self, last=last)

    def vcard(self) -> str:
        """The card, as vCard 3.0."""
        lines = [
            *("BEGIN:VCARD", "VERSION:3.0", f"FN:{_escaped(self.name)}"),
            *(f"N:{_escaped(self.last)};{_escaped(self.first)};;;", f"ORG:{_escaped(self.company)}"),
            *(f"TEL;TYPE=WORK,VOICE:{number.strip()}" for number in self.work.split(",") if number.strip()),
            *(f"TEL;TYPE=CELL,VOICE:{number.strip()}" for number in self.cell.split(",") if number.strip()),
            "END:VCARD",
        ]
        return "\r\n".join(lines) + "\r\n"


def people() -> dict[str, Person]:
    """Everybody by a key that never changes."""
    rows = [[part.strip() for part in line.split("|")] for line in TEXT.strip("\n").splitlines()]
    found = {}
    for n, (name, company, *numbers) in enumerate(rows, 1):
        first, _, last = name.partition(" ")
        fields = dict(field.split(" ", 1) for field in numbers if field)
        found[f"{n:03}"] = Person(first, last, company, fields.get("work", ""), fields.get("cell", ""))
    return found


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace(",", "\\,").replace(";", "\\;")
