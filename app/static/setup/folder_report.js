// What the report on a folder of real images says about the selected classes.

/** @import { FolderCheckReport } from '../core/types.js' */

const MAX_NAMED = 5;

/**
 * The server checks the images of all classes once; the selection only decides what is shown.
 * @param {FolderCheckReport} report Of all classes of the teacher.
 * @param {Set<string>} selected Names of classes.
 */
export function ofSelection(report, selected) {
  const classes = report.classes.filter((row) => selected.has(row.name));
  const missing = classes.filter((row) => !row.images);
  const others = report.classes.filter((row) => row.images && !selected.has(row.name));
  return {
    images: classes.reduce((sum, row) => sum + row.images, 0),
    classes,
    missing,
    ignored: [
      ...report.ignored,
      ...others.map((row) => ({
        folder: row.folders.join(', '),
        images: row.images,
        reason: 'not selected',
      })),
    ],
  };
}

/**
 * @param {FolderCheckReport['classes']} missing Selected classes without an image.
 * @param {number} selected How many are selected.
 */
export function missingRemark(missing, selected) {
  const listed = (title, rows) => {
    const more = rows.length - MAX_NAMED;
    const names = rows.slice(0, MAX_NAMED).map((row) => row.name);
    return rows.length
      ? ` ${title}: ${names.join(', ')}${more > 0 ? `, and ${more} more` : ''}.`
      : '';
  };
  const places =
    listed(
      'No folder',
      missing.filter((row) => !row.folders.length),
    ) +
    listed(
      'Folder without images',
      missing.filter((row) => row.folders.length),
    );
  return missing.length === selected
    ? `The folder has no images of the selected classes.${places}`
    : `${missing.length} of ${selected} selected classes ${missing.length === 1 ? 'has' : 'have'} no real test images; accuracy covers only the others.${places} Add the missing images, or select only the other classes.`;
}
