/** Entities of Markdown and HTML 4, such as `&rarr;`. The browser's own list can be reached only by parsing HTML. */

// Names of consecutive code points; a dot is a code point without a name.
const RUNS = [
  [
    0xa0,
    `nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 sup3 acute micro
     para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml Aring AElig Ccedil
     Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave
     Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil egrave eacute ecirc euml
     igrave iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute ucirc uuml yacute
     thorn yuml`,
  ],
  [
    0x391,
    `Alpha Beta Gamma Delta Epsilon Zeta Eta Theta Iota Kappa Lambda Mu Nu Xi Omicron Pi Rho . Sigma Tau Upsilon Phi
     Chi Psi Omega`,
  ],
  [
    0x3b1,
    `alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigmaf sigma tau upsilon
     phi chi psi omega`,
  ],
  [0x2190, 'larr uarr rarr darr harr'],
  [0x21d0, 'lArr uArr rArr dArr hArr'],
];
const SINGLE = `
  quot 22 amp 26 apos 27 lt 3c gt 3e num 23 dollar 24 percnt 25 lpar 28 rpar 29 ast 2a plus 2b comma 2c period 2e sol 2f
  colon 3a semi 3b equals 3d quest 3f commat 40 lsqb 5b lbrack 5b bsol 5c rsqb 5d rbrack 5d Hat 5e lowbar 5f grave 60
  lcub 7b lbrace 7b verbar 7c vert 7c rcub 7d rbrace 7d Tab 9 NewLine a OElig 152 oelig 153 Scaron 160 scaron 161 Yuml 178
  fnof 192 circ 2c6 tilde 2dc thetasym 3d1 upsih 3d2 piv 3d6 ensp 2002 emsp 2003 thinsp 2009 zwnj 200c zwj 200d lrm 200e
  rlm 200f hyphen 2010 ndash 2013 mdash 2014 lsquo 2018 rsquo 2019 sbquo 201a ldquo 201c rdquo 201d bdquo 201e dagger 2020
  Dagger 2021 bull 2022 hellip 2026 permil 2030 prime 2032 Prime 2033 lsaquo 2039 rsaquo 203a oline 203e frasl 2044 euro 20ac
  image 2111 weierp 2118 real 211c trade 2122 alefsym 2135 crarr 21b5 forall 2200 part 2202 exist 2203 empty 2205 nabla 2207
  isin 2208 notin 2209 ni 220b prod 220f sum 2211 minus 2212 lowast 2217 radic 221a prop 221d infin 221e ang 2220 and 2227
  or 2228 cap 2229 cup 222a int 222b there4 2234 sim 223c cong 2245 asymp 2248 ne 2260 equiv 2261 le 2264 ge 2265 sub 2282
  sup 2283 nsub 2284 sube 2286 supe 2287 oplus 2295 otimes 2297 perp 22a5 sdot 22c5 lceil 2308 rceil 2309 lfloor 230a
  rfloor 230b lang 27e8 rang 27e9 loz 25ca spades 2660 clubs 2663 hearts 2665 diams 2666 check 2713 cross 2717 star 2606
  starf 2605 phone 260e female 2640 male 2642
`;
// The characters that Windows has where Unicode has controls: the HTML standard reads their numbers so.
const WINDOWS = '€.‚ƒ„…†‡ˆ‰Š‹Œ.Ž..‘’“”•–—˜™š›œ.žŸ';
const ENTITY = /^&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|([a-zA-Z][a-zA-Z0-9]{1,9}));/;
const NAMED = named();

function named() {
  const found = new Map();
  for (const [first, names] of RUNS)
    names
      .trim()
      .split(/\s+/)
      .forEach((name, i) => name !== '.' && found.set(name, String.fromCodePoint(first + i)));
  const words = SINGLE.trim().split(/\s+/);
  for (let i = 0; i < words.length; i += 2) found.set(words[i], String.fromCodePoint(parseInt(words[i + 1], 16)));
  return found;
}

/** The entity at the beginning of `text`: {char, length}, or null. */
export function entityAt(text) {
  const match = ENTITY.exec(text);
  if (!match) return null;
  const [whole, decimal, hexadecimal, name] = match;
  const char = name ? NAMED.get(name) : character(decimal ? parseInt(decimal, 10) : parseInt(hexadecimal, 16));
  return char ? { char, length: whole.length } : null;
}

function character(number) {
  if (number === 0 || number > 0x10ffff || (number >= 0xd800 && number <= 0xdfff)) return '\uFFFD';
  const windows = number >= 0x80 && number <= 0x9f ? WINDOWS[number - 0x80] : '.';
  return windows === '.' ? String.fromCodePoint(number) : windows;
}
