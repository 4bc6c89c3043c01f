/** The signs of the operators' page, beside those of dom.js. Paths on a 24 × 24 grid, drawn with a round line. */

import { addIcons } from '../dom.js';

addIcons({
  list: ['M4 7h16', 'M4 12h16', 'M4 17h10'],
  server: ['M4.5 5h15v5.5h-15z', 'M4.5 13.5h15V19h-15z', 'M8 7.75h.01', 'M8 16.25h.01'],
  inbox: ['M4 13.5l2.5-8h11l2.5 8V19H4z', 'M4 13.5h4.5c0 2 1.5 3 3.5 3s3.5-1 3.5-3H20'],
  scroll: [
    'M7 4.5h10A1.5 1.5 0 0 1 18.5 6v13.500H7A1.500 1.500 0 0 1 5.500 18V6A1.500 1.500 0 0 1 7 4.500z',
    'M9 9h6',
    'M9 12.500h6',
    'M9 16h4',
  ],
  open: ['M13 5h6v6', 'M19 5l-8.5 8.5', 'M17 14v4.5h-12v-12H9.500'],
});
