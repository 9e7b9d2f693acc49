/**
 * SHA-256 of every RECOVER.txt and recover.mjs that any version has written into a repository's root, oldest first: what is
 * not among them is nobody's, or of a later version. A test fails when a file changes and its digest is not added here.
 */
export const knownDigests: Readonly<Record<string, readonly string[]>> = {
  'RECOVER.txt': [
    '6b0bc5736e120713b495021b2cf8170fbb675d52a595580f6890a3b21035d2e9',
    'f500a00235f6f64da29e2fe342b196ff376fb60613597ffbb6caafb45e96d45b',
    '92c72f39916cf34a6cb8f043992eed43f3f52488b774e061f1e893ec8ae33888',
    '30cc809e80d7c8b8857f8e778429f206e638ca8db4f7eda550c5a518fb3bc6d4',
    'dd173921423a307b6c39694f153555515a0054049e5c8a41f25d9b4f86582976',
    '74f194332a4a75bbd7064bc858a4938e889af373e68741743f14f5fe4dfd9963',
    '29d2c36b5cd0665818bb88b59d8315ccf900401f644e5b2382854813fedb6628',
    '5720fcbd79f91e67fdde8594af2dc697401ce5ce1084b0f5c72e9f6354e0be0c',
  ],
  'recover.mjs': [
    '3d9098c5f0aacc0ca98b04657e1f7de4cfb26313a3f51ce802b793ab901bd8ab',
    'b491fd29e867cfa3b4b511144218734c7c4e7d3a5d21e84ae080b4bbee21031e',
    'b9aa6ae4f2c045d69a8464fd7b985553cf24ab08167c7b5e182140f27b8b6e52',
    'e2c49f8787d3e57782cd6272c59052a9af4171ac7f23e36e7095954b3bf3d608',
    '19b07f0f95d27b058c6e858f999b7b83120f232980ad1428d3e14c50ef607295',
    '6a11cb128ccb3fc1b50a12d5ffedddf4adb74dd587c938ce86e5dbce3d69d87b',
    '94b088bf69f4ae00bb4ba7edd8f7eb570453d3bae5faea2d4b8f3f7672c3d5f1',
    'd26277336846c971fafea4f84b2eff21868bdefc9b7898fe1e7ea33074833634',
    '9b0c86409d9019f70b48d970ac58198b6c77df359084cc8d33e32ce8ce181ac7',
    'c865f70ecaf284d9bb9253bbfe09580d396300bf35a9e317955cf1f59a6dda9d',
    'bad42e46225041135f94313631960754e44c5c8e6f80be387ee4f848418fd54d',
  ],
}
