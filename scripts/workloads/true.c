// SPDX-License-Identifier: Apache-2.0
//
// An entrypoint that does nothing, successfully.

int main(void)
{
	return 0;
}
